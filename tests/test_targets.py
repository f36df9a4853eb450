import csv
import gzip
import threading

import numpy as np
import pytest

from npm_core.cli import main
from npm_core.errors import DataError, OutputError, SettingsError
from npm_core.fetch import Absent
from npm_core.pdb_archive import Archive, NotInArchive, entry_url
from npm_core.tables import read_targets

CODES = {"A": "ALA", "C": "CYS", "D": "ASP", "E": "GLU", "G": "GLY", "X": "UNK"}


def mmcif(sequence, unresolved=(), atoms=("CA", "CB")):
    """One chain, label A and author Q, on a straight line."""
    names = [CODES[letter] for letter in sequence]
    numbered = list(enumerate(names, start=1))
    residues = "".join(f"1 {number} {name}\n" for number, name in numbered)
    coordinates = "".join(
        f"{atom} {name} A {number} {3.8 * number:.3f} 0 0 Q 1\n"
        for number, name in numbered
        for atom in atoms
        if (atom, name) != ("CB", "GLY")
        if number not in unresolved
    )
    return f"""data_TEST
loop_
_entity_poly.entity_id
_entity_poly.type
1 'polypeptide(L)'
loop_
_entity_poly_seq.entity_id
_entity_poly_seq.num
_entity_poly_seq.mon_id
{residues}loop_
_struct_asym.id
_struct_asym.entity_id
A 1
loop_
_atom_site.label_atom_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_seq_id
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.auth_asym_id
_atom_site.pdbx_PDB_model_num
ZN ZN B . 0 0 0 Q 1
{coordinates}"""


@pytest.fixture
def mirror(tmp_path):
    """Five entries; "1ddd" is cut short, "1eee" has C-alpha atoms only."""
    entries = {
        "1aaa": mmcif("ACDEG", unresolved=(2,)),
        "1bbb": mmcif("ACXEG"),
        "1ccc": mmcif("ACDEA"),
        "1eee": mmcif("ACDE", atoms=("CA",)),
    }
    for name, text in entries.items():
        path = tmp_path / "mmCIF" / name[1:3] / f"{name}.cif.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(gzip.compress(text.encode()))
    torn = tmp_path / "mmCIF" / "dd" / "1ddd.cif.gz"
    torn.parent.mkdir()
    torn.write_bytes(gzip.compress(b"data_TORN\n_entry.id TORN\n"))
    return tmp_path


def build(folder, chains, assigned=None, template="{middle}/{id}.cif.gz", more=()):
    queries, table = folder / "queries.fasta", folder / "assigned.tsv"
    queries.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in chains.items()))
    rows = [f"{name}\t{split}\t{name}\n" for name, split in (assigned or {}).items()]
    table.write_text("id\tsplit\trepresentative\n" + "".join(rows))
    output, audit = folder / "targets.parquet", folder / "audit.tsv"
    status = main(
        [
            "build-targets",
            f"--assigned={table}",
            f"--queries={queries}",
            f"--url-template={(folder / 'mmCIF').as_uri()}/{template}",
            f"--cache={folder / 'cache'}",
            f"--lock={folder / 'lock.tsv'}",
            f"--output={output}",
            f"--audit={audit}",
            *more,
        ]
    )
    if status:
        return status
    with audit.open() as stream:
        rows = {row["id"]: row for row in csv.DictReader(stream, delimiter="\t")}
    return {target.id: target for target in read_targets(output)}, rows


CHAINS = {
    "1aaa_Q": "ACDEG",
    "1bbb_Q": "ACDEG",
    "1ccc_Q": "ACDEG",
    "1ddd_Q": "ACDEG",
    "1eee_Q": "ACDE",
    "1aaa_R": "ACDEG",
    "1bbb_A": "ACDE",
    "9zzz_A": "ACDEG",
}


def test_every_chain_becomes_a_target_or_has_its_reason(mirror):
    assigned = {name: "test" if name == "1bbb_Q" else "train" for name in CHAINS}
    targets, audit = build(mirror, CHAINS, assigned)
    assert list(targets) == ["1aaa_Q", "1bbb_Q"]
    assert list(audit) == list(CHAINS)
    for name, reason in {
        "1ccc_Q": "residue 5 is A in the structure, G in the search",
        "1ddd_Q": "no _atom_site",
        "1eee_Q": "no residue is resolved",
        "1aaa_R": "choose one of the protein chains: Q (label A)",
        "1bbb_A": "the structure has 5 residues, its sequence in the search 4",
        "9zzz_A": "the archive has no entry 9zzz",
    }.items():
        assert audit[name]["status"] == "dropped"
        assert reason in audit[name]["reason"]
    assert (audit["1aaa_Q"]["length"], audit["1aaa_Q"]["resolved"]) == ("5", "4")


def test_a_target_has_the_searched_sequence_and_the_structures_coordinates(mirror):
    targets, _ = build(mirror, CHAINS, dict.fromkeys(CHAINS, "test"))
    target = targets["1bbb_Q"]
    assert (target.sequence, target.split, target.source) == ("ACDEG", "test", "1bbb_Q")
    np.testing.assert_allclose(target.coordinates[:, 0], 3.8 * np.arange(1, 6), rtol=1e-6)
    assert np.isnan(targets["1aaa_Q"].distances[1]).all()


def test_an_error_of_one_entry_stops_the_downloads_of_the_others(mirror, monkeypatch, capsys):
    begun, stopped = threading.Event(), []

    def download(urls, path, *, lock, patience):
        if "1aaa" in urls[0]:
            begun.set()
            stopped.append(patience.stopped.wait(60))
            raise DataError("stopped")
        assert begun.wait(60)
        raise OutputError("the disk is full")

    monkeypatch.setattr("npm_core.pdb_archive.download", download)
    chains = {name: CHAINS[name] for name in ("1bbb_Q", "1aaa_Q")}
    assert build(mirror, chains, dict.fromkeys(chains, "test"), more=["--workers=2"]) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert stopped == [True]


def test_a_chain_just_half_resolved_is_a_target_and_one_below_is_not(mirror):
    for name, unresolved in [("1fff", (1, 2)), ("1ggg", (1, 2, 3))]:
        path = mirror / "mmCIF" / name[1:3] / f"{name}.cif.gz"
        path.parent.mkdir()
        path.write_bytes(gzip.compress(mmcif("ACDE", unresolved).encode()))
    chains = {"1fff_Q": "ACDE", "1ggg_Q": "ACDE"}
    targets, audit = build(mirror, chains, dict.fromkeys(chains, "test"))
    assert list(targets) == ["1fff_Q"]
    reason = audit["1ggg_Q"]["reason"]
    assert reason == "1 of 4 residues are resolved, expected at least 50%"


def test_an_archive_with_none_of_the_entries_is_an_error(mirror, capsys):
    assigned = dict.fromkeys(CHAINS, "test")
    assert build(mirror, CHAINS, assigned, "{middle}/{id}.cif") == 2
    error = capsys.readouterr().err
    assert "{middle}/{id}.cif: none of 6 entries is there" in error
    assert "/mmCIF/aa/1aaa.cif. Correct the address" in error
    assert not (mirror / "audit.tsv").exists()


def test_no_chains_make_an_empty_table(mirror):
    targets, audit = build(mirror, {})
    assert (targets, audit) == ({}, {})


def test_a_chain_that_was_not_assigned_is_an_error(mirror, capsys):
    assert build(mirror, CHAINS, {"1aaa_Q": "train"}) == 2
    assert "1bbb_Q is not in" in capsys.readouterr().err


@pytest.mark.parametrize("template", ["1abc.cif.gz", "{entry}.cif.gz", "{id}/{}.cif.gz", "{id"])
def test_a_template_needs_the_entry_and_knows_two_fields(mirror, capsys, template):
    assert build(mirror, CHAINS, dict.fromkeys(CHAINS, "test"), template) == 2
    assert "{id}" in capsys.readouterr().err


def test_the_archive_is_divided_by_the_characters_before_the_last():
    template = "https://host/{middle}/{id}.cif.gz"
    assert entry_url(template, "1abc") == "https://host/ab/1abc.cif.gz"
    assert entry_url(template, "pdb_00012xyz") == "https://host/xy/pdb_00012xyz.cif.gz"
    with pytest.raises(SettingsError, match=r"expected \{id\}"):
        entry_url("https://host/{middle}", "1abc")


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{id}/model.cif", ["1abc.model.cif", "2abc.model.cif"]),
        ("{middle}/pdb{id}.ent", ["pdb1abc.ent", "pdb2abc.ent"]),
    ],
)
def test_every_entry_has_a_file_of_its_own_in_the_cache(tmp_path, template, names):
    for entry in ("1abc", "2abc"):
        place = tmp_path / template.format(id=entry, middle=entry[1:3])
        place.parent.mkdir(exist_ok=True)
        place.write_text(entry)
    url = f"{tmp_path.as_uri()}/{template}"
    archive = Archive(url, tmp_path / "cache", lock=None)
    found = [archive.fetch(entry) for entry in ("1abc", "2abc")]
    assert [path.name for path in found] == names
    assert [path.read_text() for path in found] == ["1abc", "2abc"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(Absent, NotInArchive), (DataError, DataError)],
)
def test_only_a_missing_entry_is_not_in_the_archive(tmp_path, monkeypatch, kind, expected):
    def download(urls, output, *, lock, patience):
        raise kind(f"{urls[0]}: HTTP status 404")

    monkeypatch.setattr("npm_core.pdb_archive.download", download)
    with pytest.raises(DataError) as caught:
        Archive("https://host/{id}", tmp_path, lock=None).fetch("1abc")
    assert caught.type is expected
