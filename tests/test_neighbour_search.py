"""The nearest family and how a target aligns to it, against pairs checked by hand."""

import csv
import gzip
import shutil

import numpy as np
import pytest
from family_inputs import family

from npm_core.alphabet import decode
from npm_core.buckets import write_buckets
from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.fasta import fasta_text
from npm_core.ffindex import write_entries
from npm_core.hhsuite import hhalign
from npm_core.msa import read_alignment
from npm_core.neighbour_search import _best, paired_positions, trains_on
from npm_core.neighbours import read_neighbours
from npm_core.programs import Programs
from npm_core.structures import read_chain
from npm_core.tables import Target, read_metadata, write_families, write_targets


def mutated(rng, sequence, share):
    letters = np.array(list(sequence))
    places = rng.random(len(letters)) < share
    letters[places] = rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), places.sum())
    return "".join(letters)


def protein(rng, length):
    return "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), length))


def test_aligned_rows_pair_their_positions():
    positions, columns = paired_positions("AC-DE", "A-FDE", 10, 20)
    assert positions.tolist() == [10, 12, 13]
    assert columns.tolist() == [20, 22, 23]


def test_a_target_trains_on_the_families_outside_its_bucket():
    buckets = {"a": 0, "b": 0, "c": 1, "d": 2}
    assert {family for family in buckets if trains_on(buckets, "a", family)} == {"c", "d"}
    with pytest.raises(DataError, match="e is in no bucket"):
        trains_on(buckets, "a", "e")


def test_of_equally_probable_families_the_one_of_the_higher_score_is_nearest():
    hits = {"PF1": (99.9, 80.0), "PF2": (99.9, 95.0), "PF3": (99.8, 120.0), "PF0": (99.9, 95.0)}
    assert _best(hits) == ("PF0", (99.9, 95.0))
    assert _best({}) is None


@pytest.fixture
def relatives(rng):
    """Two unrelated families of 60 columns; the target descends from the second."""
    ancestors = {"PF1": protein(rng, 60), "PF2": protein(rng, 60), "PF3; rm": protein(rng, 60)}
    families = [
        family(*(mutated(rng, ancestor, 0.3) for _ in range(12)), name=name)
        for name, ancestor in ancestors.items()
    ]
    # Eight residues before the domain, and the domain without its columns 30 to 32.
    core = mutated(rng, ancestors["PF2"], 0.2)
    sequence = protein(rng, 8) + core[:30] + core[33:]
    coordinates = np.zeros((len(sequence), 3), dtype=np.float32)
    return families, Target("PF4", "Clan", sequence, coordinates, "1abc_A")


def write_relatives(tmp_path, families, target):
    write_families(tmp_path / "families.parquet", families, {})
    write_targets(tmp_path / "targets.parquet", [target], {})
    return [
        *("--targets", str(tmp_path / "targets.parquet")),
        *("--families", str(tmp_path / "families.parquet")),
        *("--output", str(tmp_path / "neighbours.parquet")),
    ]


def check_alignment(found):
    """Most of the domain is aligned, and where it is, residue 8 + c meets column c."""
    pairs = dict(zip(found.target_positions.tolist(), found.family_columns.tolist(), strict=True))
    assert len(pairs) > 40
    right = [pairs[p] == (p - 8 if p < 38 else p - 5) for p in pairs]
    assert np.mean(right) > 0.9


@pytest.mark.skipif(shutil.which("hhsearch") is None, reason="needs HH-suite")
def test_hhsearch_finds_the_related_family_and_aligns_to_its_own_columns(
    tmp_path, relatives, capsys
):
    families, target = relatives
    command = write_relatives(tmp_path, families, target)
    # Seeds have columns of their own: a tail of six that no family has.
    seeds = (
        (one.id, "".join(f">{n}\n{'W' * 6}{decode(r)}\n" for n, r in enumerate(one.residues)))
        for one in families
    )
    write_entries(tmp_path / "seed", ((name, text.encode()) for name, text in seeds))
    write_buckets(tmp_path / "buckets.tsv", {"PF4": 0, "PF1": 1, "PF2": 1, "PF3; rm": 2})
    command = ["find-clan-neighbours", *command, "--profiles", str(tmp_path / "seed")]
    command += ["--buckets", str(tmp_path / "buckets.tsv"), "--round", "0", "--workers", "2"]
    assert main(command) == 0
    (found,) = read_neighbours(tmp_path / "neighbours.parquet")
    assert found.family == "PF2"
    assert found.probability > 90
    check_alignment(found)
    # With PF2 in the target's own bucket it may not be used.
    write_buckets(tmp_path / "buckets.tsv", {"PF4": 0, "PF1": 1, "PF2": 0, "PF3; rm": 2})
    assert main(command) == 0
    (found,) = read_neighbours(tmp_path / "neighbours.parquet")
    assert found.family in ("PF1", "PF3; rm")
    assert [path.name for path in tmp_path.glob(".*")] == [], "scratch is removed"
    capsys.readouterr()


@pytest.mark.skipif(shutil.which("hhalign") is None, reason="needs HH-suite")
def test_two_real_families_of_one_protein_meet_residue_by_residue(real_data, tmp_path):
    # 3F1L is in both PF13561 (chain A) and PF00106 (chain B, the same protein): a residue of the
    # one must fall on the column that the other's map gives to the residue of the same number.
    clan = real_data / "clans" / "NADP_Rossmann"

    def residues(name):
        with gzip.open(clan / name, "rt") as stream:
            return list(csv.DictReader(stream, delimiter="\t"))

    domain = residues("PF13561_3f1l_A.map.tsv.gz")
    truth = {r["auth_seqid"]: int(r["hmm_col"]) - 1 for r in residues("PF00106_3f1l_B.map.tsv.gz")}
    numbers = {int(r["chain_idx0"]): r["auth_seqid"] for r in domain}
    chain = read_chain(clan / "PF13561_3f1l_A.pdb.gz")
    (tmp_path / "query.fasta").write_text(f">q\n{chain.sequence}\n")
    msa = read_alignment(clan / "PF00106.a3m.gz")
    (tmp_path / "family.a3m").write_text(fasta_text(enumerate(map(decode, msa.residues))))
    with Programs() as programs:
        pairs = hhalign(programs, tmp_path / "query.fasta", tmp_path / "family.a3m")
    right = [
        column == truth[numbers[position]]
        for position, column in zip(*map(list, pairs), strict=True)
        if numbers.get(position) in truth
    ]
    assert len(right) > 150
    assert np.mean(right) > 0.9


@pytest.mark.skipif(shutil.which("mmseqs") is None, reason="needs MMseqs2")
def test_mmseqs_finds_the_related_query_and_counts_targets_without_a_hit(
    tmp_path, relatives, rng, capsys
):
    families, target = relatives
    stranger = Target("x", "test", protein(rng, 50), np.zeros((50, 3), np.float32), "2abc_A")
    command = write_relatives(tmp_path, families, target)
    write_targets(tmp_path / "targets.parquet", [target, stranger], {})
    assert main(["find-neighbours", *command]) == 0
    found, missing = read_neighbours(tmp_path / "neighbours.parquet")
    assert found.family == "PF2"
    assert found.bits > 30
    check_alignment(found)
    assert missing.family is None
    assert read_metadata(tmp_path / "neighbours.parquet")["targets_without_hit"] == 1
    capsys.readouterr()


@pytest.mark.skipif(shutil.which("mmseqs") is None, reason="needs MMseqs2")
def test_the_nearest_family_is_the_best_hit_but_not_the_targets_own(tmp_path, rng, capsys):
    own = protein(rng, 80)
    families = [
        family(own, name="T"),
        family(mutated(rng, own, 0.45), name="far"),
        family(mutated(rng, own, 0.2), name="near"),
    ]
    target = Target("T", "test", own, np.zeros((80, 3), np.float32), "1abc_A")
    assert main(["find-neighbours", *write_relatives(tmp_path, families, target)]) == 0
    (found,) = read_neighbours(tmp_path / "neighbours.parquet")
    assert found.family == "near"
    assert found.bits > 50
    capsys.readouterr()


def test_columns_are_counted_over_a_gap_of_the_familys_query(tmp_path, rng, capsys):
    if shutil.which("mmseqs") is None:
        pytest.skip("needs MMseqs2")
    own = protein(rng, 80)
    target = Target("T", "test", own, np.zeros((80, 3), np.float32), "1abc_A")
    gapped = [family(own[:40] + "-" + own[41:], name="near")]
    assert main(["find-neighbours", *write_relatives(tmp_path, gapped, target)]) == 0
    (found,) = read_neighbours(tmp_path / "neighbours.parquet")
    assert found.target_positions.tolist() == found.family_columns.tolist()
    assert len(found.family_columns) >= 79
    capsys.readouterr()
