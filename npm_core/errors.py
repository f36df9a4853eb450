"""What a user can act on: printed as `ERROR: ...` with exit status 2, never as a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager


class NpmError(Exception):
    """Base of every error a user can mend. The message says what, where, found, expected, cure.

    A message is all that any of them is made of.
    """


class DataError(NpmError):
    """An input does not hold what it must hold."""


class OutputError(NpmError):
    """A file cannot be written where it was asked for."""


class SettingsError(NpmError):
    """A setting or a combination of settings cannot be used."""


class ToolError(NpmError):
    """An external program is missing or failed."""


@contextmanager
def told_where(where: str) -> Iterator[None]:
    """Put `where`, a file or a line of it, before what an error of the block says.

    The block's errors must not name the file themselves.
    """
    try:
        yield
    except NpmError as error:
        raise type(error)(f"{where}: {error}") from error
