"""Why something cannot be taken in: one sentence that names what is wrong and what to do."""


class IntakeFailed(Exception):
    """It cannot be read or sent now; the message is for people."""


class InputWrong(IntakeFailed):
    """What was handed in, or the way in which it is to be read, asks for something that cannot be."""
