"""The check, before the work, of what a verb would write."""

import argparse
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

from npm_core.cli._arguments import OutputFile, OutputFolder
from npm_core.errors import OutputError


def check_arguments(args: argparse.Namespace) -> None:
    """`check_outputs` on every OutputFile and every other path of a verb's arguments.

    Its folders to write to are checked by `check_folders`.
    """
    values = [one for value in vars(args).values() for one in _items(value)]
    outputs = [value for value in values if isinstance(value, OutputFile)]
    inputs = [
        value for value in values if isinstance(value, Path) and not isinstance(value, OutputFile)
    ]
    check_outputs(outputs, inputs)
    check_folders(value for value in values if isinstance(value, OutputFolder))


def _items(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else [value]


def check_outputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse, before the work, files that cannot be written or would overwrite one another.

    A device or a pipe may be given more than once.

    Raises:
        OutputError: An output is a folder, lies in what is no folder or where nothing can be
            written, or is the same file as an input or another output.
    """
    taken = {os.path.realpath(path): "is an input too" for path in inputs}
    for path in outputs:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file to write")
        parent = next(one for one in path.absolute().parents if one.exists())
        if not parent.is_dir():
            raise OutputError(f"{path}: {parent} is no folder; name another file to write")
        if path.exists() and not path.is_file():
            continue
        real = os.path.realpath(path)
        if real in taken:
            raise OutputError(f"{path}: {taken[real]}; name another file to write")
        taken[real] = "would be written twice"
        _try_writing(path, Path(real))


def check_folders(folders: Iterable[Path]) -> None:
    """Refuse, before the work, folders that cannot be made.

    Raises:
        OutputError: One is a file, lies in what is no folder, or nothing can be written there.
    """
    for path in folders:
        found = next(one for one in (path, *path.absolute().parents) if one.exists())
        if not found.is_dir():
            raise OutputError(f"{path}: {found} is no folder; name a folder to write to")
        _try_writing(path, path / "file")


def _try_writing(given: Path, file: Path) -> None:
    """Create and remove a file beside `file`; where folders are missing, in one like them.

    Nothing else tells: permissions say that root may write in /proc, too.
    """
    folder, *above = file.absolute().parents
    found = next(one for one in (folder, *above) if one.exists())
    try:
        with ExitStack() as stack:
            if found != folder:
                folder = Path(stack.enter_context(TemporaryDirectory(dir=found)))
            stack.enter_context(
                NamedTemporaryFile(prefix=f".{file.name}.", suffix=".part", dir=folder)
            )
    except OSError as error:
        raise OutputError(
            f"{given}: cannot be written ({error.strerror}); name another place"
        ) from error
