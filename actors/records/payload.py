"""What all payloads of records have in common: a payload may be none of what its kind says."""


class PayloadUnreadable(Exception):
    """A payload is not what its record kind says; names what is wrong."""
