"""A family's structure: aligned to its row by hand, refused with a reason, cut to the domain."""

import numpy as np
import pytest
from Bio.SeqUtils import seq3

from npm_core.alphabet import encode
from npm_core.clan_targets import (
    Refused,
    choose_target,
    fetched_chain,
    in_order_of_preference,
    map_to_family,
    read_columns,
    read_structures,
    row_columns,
    write_audit,
    write_columns,
    write_structures,
)
from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.pdb_archive import Archive
from npm_core.pfam import StructureRow
from npm_core.source_lock import SourceLock
from npm_core.structures import Chain
from npm_core.tables import Family, read_metadata, read_targets, write_families

DOMAIN = "ACDEFGHIKLMNPQRSTVWY"

ATOM_SITE = (
    *("label_atom_id", "label_comp_id", "label_asym_id", "label_seq_id", "auth_asym_id"),
    *("Cartn_x", "Cartn_y", "Cartn_z", "occupancy"),
)


def chain(sequence, unresolved=()):
    coordinates = np.arange(3.0 * len(sequence)).reshape(-1, 3).astype(np.float32)
    coordinates[list(unresolved)] = np.nan
    return Chain("A", "A", sequence, coordinates)


def mmcif(sequence):
    """A chain whose author calls it X, one C-alpha and C-beta a residue."""
    names = [seq3(letter).upper() for letter in sequence]
    lines = [
        *("data_1abc", "_entity_poly.entity_id 1", "_entity_poly.type polypeptide(L)"),
        *("_struct_asym.id A", "_struct_asym.entity_id 1"),
        *("loop_", "_entity_poly_seq.entity_id", "_entity_poly_seq.num"),
        "_entity_poly_seq.mon_id",
        *(f"1 {number} {name}" for number, name in enumerate(names, 1)),
        "loop_",
        *(f"_atom_site.{tag}" for tag in ATOM_SITE),
        *(
            f"{atom} {name} A {number} X {number}.0 {height} 0.0 1.0"
            for number, name in enumerate(names, 1)
            for atom, height in (("CA", 0.0), ("CB", 1.5))
            if atom == "CA" or name != "GLY"
        ),
    ]
    return "\n".join(lines) + "\n"


def choose(structures, read, **settings):
    limits = {"min_identity": 0.9, "min_coverage": 0.5, "min_resolved": 0.5, "max_attempts": 20}
    return choose_target("PF00002", "Clan", 20, structures, read, **limits | settings)


def test_residues_of_a_row_know_their_columns_and_inserts_have_none():
    residues, columns = row_columns("A-cDkE-")
    assert residues == "ACDKE"
    assert columns.tolist() == [0, -1, 2, -1, 3]


def test_a_tagged_and_truncated_chain_is_cut_to_the_columns_it_covers():
    found = map_to_family("MHHHHHH" + DOMAIN[3:] + "GSGS", DOMAIN)
    assert found.part == slice(7, 24)
    assert found.columns.tolist() == list(range(3, 20))
    assert found.identity == 1.0
    assert found.coverage == pytest.approx(17 / 20)


def test_an_insert_of_the_row_is_a_residue_without_a_column():
    found = map_to_family(DOMAIN, DOMAIN[:8] + "klm" + "-" + DOMAIN[11:])
    assert found.part == slice(0, 20)
    assert found.columns.tolist() == [*range(8), -1, -1, -1, *range(9, 18)]


def test_residues_the_chain_lacks_leave_columns_out():
    found = map_to_family(DOMAIN[:8] + DOMAIN[12:], DOMAIN)
    assert found.columns.tolist() == [*range(8), *range(12, 20)]


def test_mutations_count_against_identity():
    found = map_to_family("AC" + "W" + DOMAIN[3:10] + "W" + DOMAIN[11:], DOMAIN)
    assert found.identity == pytest.approx(18 / 20)


def test_what_is_not_known_counts_in_coverage_and_not_in_identity():
    found = map_to_family("ACDXXXHIKLMNPQRSTVWY", "W" + DOMAIN[1:18] + "XX")
    assert found.columns.tolist() == list(range(20))
    # Of 20 pairs 3 and 2 hold an X, and A beside W is the only other that differs.
    assert (found.identity, found.coverage) == (14 / 15, 1.0)


def test_a_chain_of_which_nothing_is_known_is_refused():
    with pytest.raises(Refused, match="no known residue of the chain"):
        map_to_family("X" * 20, DOMAIN)


def test_a_chain_that_meets_only_inserts_is_refused():
    with pytest.raises(Refused, match="no residue"):
        map_to_family(DOMAIN, "-" * 20 + DOMAIN.lower())


def test_the_fullest_row_is_tried_first_and_refusals_are_recorded():
    short = StructureRow("1abc", "A", "SHORT/1-10", DOMAIN[:10] + "-" * 10)
    other = StructureRow("2abc", "A", "FULL/1-20", DOMAIN)
    right = StructureRow("3abc", "B", "FULL/1-20", DOMAIN)
    assert in_order_of_preference([right, short, other]) == [other, right, short]

    chains = {"2abc": chain(DOMAIN[::-1]), "3abc": chain("MK" + DOMAIN, unresolved=[3])}
    target, columns, attempts = choose([short, right, other], lambda row: chains[row.pdb])
    assert target.id == "PF00002"
    assert target.split == "Clan"
    assert target.source == "3abc_B"
    assert target.sequence == DOMAIN
    assert np.isnan(target.coordinates[1]).all()
    assert target.coordinates[0].tolist() == [6.0, 7.0, 8.0], "residue 3 of the chain"
    assert columns.tolist() == list(range(20))
    assert [attempt.status for attempt in attempts] == ["refused", "chosen"]


@pytest.mark.parametrize(
    ("sequence", "unresolved", "reason"),
    [
        ("ACWEFGWIKLWNPQRWTVWY", (), "identity"),
        (DOMAIN[:6], (), "covers"),
        (DOMAIN, range(20), "no residue is resolved"),
        # The tags at both ends, which are resolved, are not of the domain.
        ("GSGS" + DOMAIN + "GSGS", range(4, 15), "9 of 20 residues of the domain are resolved"),
    ],
)
def test_a_refusal_says_why(sequence, unresolved, reason):
    row = StructureRow("1abc", "A", "ROW/1-20", DOMAIN)
    target, columns, attempts = choose([row], lambda _: chain(sequence, unresolved))
    assert target is None
    assert columns is None
    assert reason in attempts[0].reason


def test_inserts_do_not_fill_columns():
    inserted = StructureRow("1abc", "A", "INSERT/1-25", DOMAIN[:10] + "-" * 10 + "a" * 15)
    fuller = StructureRow("2abc", "A", "MORE/1-11", DOMAIN[:11] + "-" * 9)
    assert in_order_of_preference([inserted, fuller]) == [fuller, inserted]


@pytest.mark.parametrize("sequence", [DOMAIN[:10], "AC" + "W" + DOMAIN[3:10] + "W" + DOMAIN[11:]])
def test_a_structure_just_at_a_limit_is_taken(sequence):
    # Half of the row is covered, or 18 of its 20 residues agree.
    row = StructureRow("1abc", "A", "ROW/1-20", DOMAIN)
    target, _, _ = choose([row], lambda _: chain(sequence))
    assert target is not None


def test_a_domain_just_half_resolved_is_taken_whatever_the_chain_is():
    row = StructureRow("1abc", "A", "ROW/1-20", DOMAIN)
    unresolved = [*range(4, 14), *range(24, 44)]
    target, _, _ = choose([row], lambda _: chain("GSGS" + DOMAIN + "GS" * 10, unresolved))
    assert target.resolved.tolist() == [False] * 10 + [True] * 10


def test_no_more_structures_are_tried_than_asked():
    rows = [StructureRow(f"{number}abc", "A", "ROW/1-20", DOMAIN) for number in range(5)]
    _, _, attempts = choose(rows, lambda _: chain("W" * 20), max_attempts=3)
    assert [attempt.structure.pdb for attempt in attempts] == ["0abc", "1abc", "2abc"]


def test_a_row_of_another_release_is_refused():
    row = StructureRow("1abc", "A", "ROW/1-20", DOMAIN + "A")
    with pytest.raises(DataError, match="21 columns, the family 20"):
        choose([row], lambda _: chain(DOMAIN))


def test_an_entry_that_is_absent_or_unreadable_is_refused_and_a_broken_lock_is_an_error(tmp_path):
    (tmp_path / "1abc.cif").write_text(mmcif(DOMAIN))
    template = tmp_path.as_uri() + "/{id}.cif"
    archive = Archive(template, tmp_path / "cache", SourceLock(tmp_path / "lock.tsv"))

    def fetch(pdb, name):
        return fetched_chain(StructureRow(pdb, name, "R/1-20", DOMAIN), archive)

    assert fetch("1abc", "X").sequence == DOMAIN
    with pytest.raises(Refused, match="no entry 2abc"):
        fetch("2abc", "X")
    with pytest.raises(Refused, match="no PDB id"):
        fetch("../1abc", "X")
    with pytest.raises(Refused, match="'B'"):
        fetch("1abc", "B")
    for name, text, reason in [
        ("3abc", "data_3abc\n_entry.id 3ABC\n", "no _atom_site"),
        ("4abc", mmcif(DOMAIN).replace(" 1.0 0.0 0.0 ", " one 0.0 0.0 "), "_atom_site holds 'one'"),
    ]:
        (tmp_path / f"{name}.cif").write_text(text)
        with pytest.raises(Refused, match=f"^{reason}"):
            fetch(name, "X")
    (tmp_path / "1abc.cif").write_text(mmcif(DOMAIN[1:]))
    (tmp_path / "cache" / "1abc.cif").unlink()
    with pytest.raises(DataError, match="sha256") as caught:
        fetch("1abc", "X")
    assert not isinstance(caught.value, Refused)


def test_the_verb_writes_targets_columns_and_an_audit(tmp_path, capsys):
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "1abc.cif").write_text(mmcif("KK" + DOMAIN))
    structures = {
        "PF1": [StructureRow("1abc", "X", "R/1-20", DOMAIN)],
        "PF2": [StructureRow("9abc", "X", "R/1-20", DOMAIN)],
    }
    write_structures(tmp_path / "structures.tsv", "Clan", structures)
    families = [
        Family(name, encode(DOMAIN)[None], np.ones(1, np.float32)) for name in ("PF1", "PF2", "PF3")
    ]
    write_families(tmp_path / "families.parquet", families, {})
    status = main(
        [
            *("choose-clan-targets", "--structures", str(tmp_path / "structures.tsv")),
            *("--families", str(tmp_path / "families.parquet")),
            *("--url-template", tmp_path.as_uri() + "/{middle}/{id}.cif"),
            *("--cache", str(tmp_path / "cache"), "--lock", str(tmp_path / "lock.tsv")),
            *("--output", str(tmp_path / "targets.parquet")),
            *("--columns", str(tmp_path / "columns.parquet")),
            *("--audit", str(tmp_path / "audit.tsv")),
        ]
    )
    assert status == 0
    (target,) = read_targets(tmp_path / "targets.parquet")
    assert (target.id, target.split, target.source) == ("PF1", "Clan", "1abc_X")
    assert target.sequence == DOMAIN
    assert target.coordinates[0].tolist() == [3.0, 1.5, 0.0]
    assert read_columns(tmp_path / "columns.parquet")["PF1"].tolist() == list(range(20))
    header, *lines = [
        line.split("\t") for line in (tmp_path / "audit.tsv").read_text().splitlines()
    ]
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    assert [(row["family"], row["status"], row["reason"]) for row in rows] == [
        ("PF1", "chosen", ""),
        ("PF2", "refused", "the archive has no entry 9abc; it may be obsolete"),
        ("PF3", "refused", "no structure"),
    ]
    assert read_metadata(tmp_path / "targets.parquet")["without_structure"] == 1
    capsys.readouterr()


def test_an_archive_with_none_of_the_entries_is_an_error(tmp_path, capsys):
    rows = [StructureRow(f"{number}abc", "X", "R/1-20", DOMAIN) for number in (7, 8, 9)]
    write_structures(tmp_path / "structures.tsv", "Clan", {"PF1": rows})
    write_families(
        tmp_path / "families.parquet",
        [Family("PF1", encode(DOMAIN)[None], np.ones(1, np.float32))],
        {},
    )
    status = main(
        [
            *("choose-clan-targets", "--structures", str(tmp_path / "structures.tsv")),
            *("--families", str(tmp_path / "families.parquet")),
            *("--url-template", tmp_path.as_uri() + "/{id}.cif"),
            *("--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "targets.parquet")),
            *("--columns", str(tmp_path / "columns.parquet")),
            *("--audit", str(tmp_path / "audit.tsv")),
        ]
    )
    assert status == 2
    assert "none of 3 entries is there" in capsys.readouterr().err


def test_structures_columns_and_audit_are_read_as_written(tmp_path):
    rows = {"PF00002": [StructureRow("1abc", "A", "ROW/1-2", "AC")], "PF00003": []}
    write_structures(tmp_path / "structures.tsv", "Clan", rows)
    assert read_structures(tmp_path / "structures.tsv") == (
        {"PF00002": "Clan"},
        {"PF00002": rows["PF00002"]},
    )
    write_columns(tmp_path / "c.parquet", {"PF00002": np.array([0, -1, 2], np.int32)}, {})
    assert read_columns(tmp_path / "c.parquet")["PF00002"].tolist() == [0, -1, 2]
    _, _, attempts = choose([StructureRow("1abc", "A", "R/1-2", DOMAIN)], lambda _: chain("W" * 20))
    write_audit(tmp_path / "audit.tsv", {"PF00002": attempts, "PF00003": []})
    lines = (tmp_path / "audit.tsv").read_text().splitlines()
    assert lines[1].split("\t")[:5] == ["PF00002", "1abc", "A", "R/1-2", "refused"]
    assert lines[2].split("\t")[-1] == "no structure"


def test_the_limits_of_a_familys_structure_are_options(tmp_path, capsys):
    # 18 of 20 residues agree, and all are covered.
    (tmp_path / "1abc.cif").write_text(mmcif("AC" + "W" + DOMAIN[3:10] + "W" + DOMAIN[11:]))
    row = StructureRow("1abc", "X", "R/1-20", DOMAIN)
    write_structures(tmp_path / "structures", "Clan", {"PF1": [row]})
    family = Family("PF1", encode(DOMAIN)[None], np.ones(1, np.float32))
    write_families(tmp_path / "families", [family], {})
    words = [f"--{n}={tmp_path / n}" for n in ("structures", "families", "output", "columns")]
    words += [f"--url-template={tmp_path.as_uri()}/{{id}}.cif", f"--cache={tmp_path / 'cache'}"]
    words += [f"--audit={tmp_path / 'audit'}"]
    assert main(["choose-clan-targets", *words]) == 0
    assert main(["choose-clan-targets", *words, "--min-identity", "0.95"]) == 2
    assert "all 1 structures were refused" in capsys.readouterr().err
