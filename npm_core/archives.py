"""Members streamed out of published tar and zip archives, without unpacking the rest."""

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from npm_core.errors import DataError
from npm_core.files import atomic_path
from npm_core.hhsuite import PARTS

NEEDED = tuple(f"_{part}.{kind}" for part in PARTS for kind in ("ffdata", "ffindex"))
"""How the names of a database's files end."""

OPTIONAL = ("_hhm.ffdata", "_hhm.ffindex")


@contextmanager
def _stream(archive: Path | str) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(archive, "r|*") as tar:
            yield tar
    except FileNotFoundError as error:
        raise DataError(f"{archive}: no such file") from error
    except (tarfile.ReadError, EOFError) as error:
        raise DataError(f"{archive}: not a whole tar archive ({error})") from error


def _copy(source: IO[bytes], target: Path) -> None:
    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        shutil.copyfileobj(source, stream, 1 << 20)


def extract_member(archive: Path | str, member: str, output: Path) -> str:
    """Copy the first regular member of that file name, looking inside nested tars as well.

    Args:
        archive: A tar, compressed or not, read once, front to back; or a zip, such as a wheel.
        member: File name without folders, e.g. "uniref50.fasta.gz".
        output: Where to.

    Returns:
        The member's full name.

    Raises:
        DataError: There is no such member.
    """
    seen: list[str] = []
    if zipfile.is_zipfile(archive):
        found = _extract_from_zip(archive, member, output, seen)
    else:
        with _stream(archive) as tar:
            found = _extract_from(tar, member, output, seen)
    if found is None:
        listed = ", ".join(seen[:10]) or "nothing"
        raise DataError(f"{archive}: no member {member}; it holds {listed}")
    return found


def _extract_from(tar: tarfile.TarFile, member: str, output: Path, seen: list[str]) -> str | None:
    for entry in tar:
        seen.append(entry.name)
        source = tar.extractfile(entry) if entry.isfile() else None
        if source is None:
            continue
        if Path(entry.name).name == member:
            _copy(source, output)
            return entry.name
        if entry.name.endswith((".tar", ".tar.gz", ".tgz")):
            with tarfile.open(fileobj=source, mode="r|*") as nested:
                found = _extract_from(nested, member, output, seen)
            if found is not None:
                return f"{entry.name}:{found}"
    return None


def _extract_from_zip(
    archive: Path | str, member: str, output: Path, seen: list[str]
) -> str | None:
    with zipfile.ZipFile(archive) as wheel:
        for entry in wheel.infolist():
            seen.append(entry.filename)
            if Path(entry.filename).name == member and not entry.is_dir():
                try:
                    with wheel.open(entry) as source:
                        _copy(source, output)
                except zipfile.BadZipFile as error:
                    raise DataError(f"{archive}: {member} is damaged ({error})") from error
                return entry.filename
    return None


def unpack_database(archive: Path | str, prefix: Path) -> list[Path]:
    """Unpack a published HH-suite database as PREFIX_a3m.ffdata and so on.

    Args:
        archive: Tar of NAME_{a3m,cs219[,hhm]}.{ffdata,ffindex}, in any folder.
        prefix: What takes the place of folder and NAME.

    Raises:
        DataError: Parts are missing, or the archive holds two databases.
    """
    written: dict[str, str] = {}
    with _stream(archive) as tar:
        for entry in tar:
            part = next(
                (part for part in NEEDED + OPTIONAL if entry.name.endswith(part)),
                None,
            )
            source = tar.extractfile(entry) if part and entry.isfile() else None
            if part is None or source is None:
                continue
            if part in written:
                raise DataError(
                    f"{archive}: two databases, {written[part]} and {entry.name}; expected one"
                )
            _copy(source, Path(f"{prefix}{part}"))
            written[part] = entry.name
    missing = [part for part in NEEDED if part not in written]
    if missing:
        raise DataError(
            f"{archive}: no member ends in {', '.join(missing)}; expected an HH-suite database "
            "(the *_hhsuite archive, not the FASTA one)"
        )
    return [Path(f"{prefix}{part}") for part in written]
