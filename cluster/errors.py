"""What a command says when it cannot go on: one sentence that names what is wrong and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from intake.errors import InputWrong, IntakeFailed


class CommandFailed(Exception):
    """The command ends with `exit_code` and this sentence on stderr, without a traceback."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message, exit_code)
        self.message = message
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message


class UsageWrong(CommandFailed):
    """The command line, a setting or a mapping asks for something that cannot be: exit code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 2)


@contextmanager
def ending_as_commands_do() -> Iterator[None]:
    """Let what cannot be taken in end a command: with 2 where what was handed in is wrong, else with 1."""
    try:
        yield
    except InputWrong as wrong:
        raise UsageWrong(str(wrong)) from wrong
    except IntakeFailed as failed:
        raise CommandFailed(str(failed)) from failed
