"""What a user can act on: printed as `ERROR: ...` with exit status 2, never as a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager


class NpmError(Exception):
    """Base of every error a user can mend. The message says what, where, found, expected, cure."""


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
    """Put `where`, a file or a line of it, before what a DataError of the block says."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
