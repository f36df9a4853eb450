"""Families rebuilt by HMMER: profiles and sequences made here, so that every row is known."""

import gzip
import os
import shutil
import subprocess

import numpy as np
import pytest
from pyhmmer.easel import Alphabet, TextMSA, TextSequence
from pyhmmer.plan7 import HMM, Background, Builder
from waiting import wait_until

from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.family_search import (
    NO_CUTOFF,
    NO_HIT,
    NO_PROFILE,
    blast_sequences,
    digital_sequences,
    read_profiles,
    search_family,
)
from npm_core.ffindex import read_entries
from npm_core.files import read_tsv
from npm_core.msa import read_alignment

DOMAIN = "MKVLWAGHCDEFYRTPNQSIKEWLHCAGDMVYPRTNFKLSQE"
OTHER = "WWPHHCYKDMGGTNEQRRFFPAVLLCHIIDSYKWMPETQNGVA"
LINKER = "GSGSAGSASGAGSGSAGGSA"
CLANS = """\
PF00001\tCL0001\tTiny\tFirst\tWith domains
PF00002\tCL0001\tTiny\tSecond\tWithout domains
PF00003\tCL0001\tTiny\tThird\tWithout a profile
PF00004\tCL0001\tTiny\tFourth\tWithout a cut-off
PF00005\tCL0002\tElsewhere\tFifth\tOf another clan
"""
SEQUENCES = {
    "TWICE": DOMAIN + LINKER + DOMAIN,
    "INSERT": LINKER + DOMAIN[:20] + "GSGSG" + DOMAIN[20:],
    "PART": DOMAIN[:10] + DOMAIN[14:] + LINKER,
    "NONE": LINKER * 4,
}


def profile(accession: str, consensus: str, cutoff: float | None = 20.0) -> HMM:
    """A profile of one sequence, each residue of it a match column."""
    alphabet = Alphabet.amino()
    sequence = TextSequence(name="seed", sequence=consensus)
    msa = TextMSA(name=accession, sequences=[sequence]).digitize(alphabet)
    hmm, _, _ = Builder(alphabet).build_msa(msa, Background(alphabet))
    hmm.accession = f"{accession}.7"
    if cutoff is not None:
        hmm.cutoffs.gathering = (cutoff, cutoff)
    return hmm


@pytest.fixture
def folder(tmp_path):
    with (tmp_path / "profiles.hmm").open("wb") as stream:
        profile("PF00001", DOMAIN).write(stream)
        profile("PF00002", OTHER).write(stream)
        profile("PF00004", DOMAIN, cutoff=None).write(stream)
        profile("PF00005", DOMAIN).write(stream)
    fasta = "".join(f">{name} words\n{letters}\n" for name, letters in SEQUENCES.items())
    (tmp_path / "sequences.fasta.gz").write_bytes(gzip.compress(fasta.encode()))
    (tmp_path / "clans.tsv").write_text(CLANS)
    return tmp_path


def search(folder, *more):
    return main(
        [
            *("search-families", "--profiles", str(folder / "profiles.hmm")),
            *("--sequences", str(folder / "sequences.fasta.gz")),
            *("--clans", str(folder / "clans.tsv"), "--clan", "Tiny"),
            *("--scratch", str(folder / "scratch"), "--output", str(folder / "found")),
            *("--ledger", str(folder / "ledger.tsv"), *more),
        ]
    )


def test_every_domain_is_a_row_of_match_columns_with_its_inserts(folder):
    profiles = read_profiles(folder / "profiles.hmm", ["PF00001"])
    rows = dict(
        search_family(profiles["PF00001"], digital_sequences(folder / "sequences.fasta.gz"))
    )
    start = len(DOMAIN) + len(LINKER)
    assert rows.keys() == {
        f"TWICE/1-{len(DOMAIN)}",
        f"TWICE/{start + 1}-{start + len(DOMAIN)}",
        f"INSERT/{len(LINKER) + 1}-{len(LINKER) + len(DOMAIN) + 5}",
        f"PART/1-{len(DOMAIN) - 4}",
    }
    assert rows[f"TWICE/1-{len(DOMAIN)}"] == DOMAIN
    assert rows[f"PART/1-{len(DOMAIN) - 4}"] == DOMAIN[:10] + "----" + DOMAIN[14:]
    inserted = next(row for name, row in rows.items() if name.startswith("INSERT"))
    assert "".join(letter for letter in inserted if not letter.islower()) == DOMAIN
    assert sum(letter.islower() for letter in inserted) == 5


def test_the_verb_writes_families_and_a_ledger_of_those_it_drops(folder, capsys):
    assert search(folder) == 0
    entries = dict(read_entries(folder / "found"))
    assert entries.keys() == {"PF00001"}
    (folder / "family.a3m").write_bytes(entries["PF00001"])
    assert read_alignment(folder / "family.a3m").residues.shape == (4, len(DOMAIN))
    rows = [(row["query"], row["status"], row["reason"]) for row in read_tsv(folder / "ledger.tsv")]
    assert rows == [
        ("PF00001", "ok", ""),
        ("PF00002", "skipped", NO_HIT),
        ("PF00003", "skipped", NO_PROFILE),
        ("PF00004", "skipped", NO_CUTOFF),
    ]
    capsys.readouterr()


def test_shards_are_the_whole_clan_in_parts(folder, capsys):
    names = []
    for shard in ("0", "1"):
        assert search(folder, "--shards", "2", "--shard", shard) == 0
        names += [row["query"] for row in read_tsv(folder / "ledger.tsv")]
    assert names == ["PF00001", "PF00003", "PF00002", "PF00004"]
    assert search(folder, "--shards", "2", "--shard", "2") == 2
    assert "shards are 0 to 1" in capsys.readouterr().err


def test_a_shard_that_was_stopped_goes_on_with_the_families_it_lacks(folder, monkeypatch, capsys):
    from npm_core import family_search

    searched = []

    def stop_at_the_second(profile, sequences):
        searched.append(profile.accession)
        if len(searched) == 2:
            (journal,) = (folder / "scratch").glob("*.jsonl")
            wait_until(lambda: "PF00001" in journal.read_text())
            raise KeyboardInterrupt
        return search_family(profile, sequences)

    monkeypatch.setattr(family_search, "search_family", stop_at_the_second)
    assert search(folder) == 130
    assert not (folder / "found.ffdata").exists()
    assert search(folder) == 0
    assert sorted(searched) == ["PF00001.7", "PF00002.7", "PF00002.7"]
    assert dict(read_entries(folder / "found")).keys() == {"PF00001"}
    capsys.readouterr()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("profiles.hmm", "nonsense\n", "not a file of HMMER3 profiles"),
        ("sequences.fasta.gz", ">a\nMK1VL\n", "not a FASTA file of proteins"),
        ("sequences.fasta.gz", "", "not a FASTA file of proteins"),
        ("clans.tsv", CLANS.replace("Tiny", "Tinny"), "did you mean Tinny"),
    ],
)
def test_bad_input_is_refused(folder, name, text, message, capsys):
    (folder / name).write_text(text)
    assert search(folder) == 2
    assert message in capsys.readouterr().err


def test_a_pipe_is_refused_before_it_is_read(folder, capsys):
    (folder / "sequences.fasta.gz").unlink()
    os.mkfifo(folder / "sequences.fasta.gz")
    assert search(folder) == 2
    assert "a pipe or a folder, expected a file" in capsys.readouterr().err


def test_a_missing_file_is_refused(folder):
    with pytest.raises(DataError, match="no such file"):
        digital_sequences(folder / "nowhere.fasta")
    with pytest.raises(DataError, match="none of 1 families has a profile"):
        read_profiles(folder / "profiles.hmm", ["PF99999"])


@pytest.mark.skipif(shutil.which("makeblastdb") is None, reason="ncbi-blast+ is not installed")
def test_distinct_sequences_of_blast_databases_keep_their_first_name(tmp_path):
    rng = np.random.default_rng(0)
    letters = ["".join(rng.choice(list("ARNDCQEGHILKMFPSTWYV"), 50)) for _ in range(3)]
    for name, records in (
        ("one", [("A1|GO:1,GO:2", letters[0]), ("B2|GO:3", letters[1])]),
        ("two", [("B2|GO:3", letters[1]), ("C3", letters[0]), ("D4|", letters[2])]),
    ):
        (tmp_path / f"{name}.fasta").write_text("".join(f">{n}\n{s}\n" for n, s in records))
        subprocess.run(
            ["makeblastdb", "-in", f"{name}.fasta", "-dbtype", "prot", "-blastdb_version", "4"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    databases = [str(tmp_path / "one.fasta"), str(tmp_path / "two.fasta")]
    assert list(blast_sequences(databases)) == [
        ("A1", letters[0]),
        ("B2", letters[1]),
        ("D4", letters[2]),
    ]


def test_a_domain_below_the_familys_own_cut_off_is_no_row_and_every_match_column_stays(tmp_path):
    part = DOMAIN[:10] + DOMAIN[14:]
    (tmp_path / "one.fasta").write_text(f">PART\n{part}\n")
    sequences = digital_sequences(tmp_path / "one.fasta")
    assert search_family(profile("PF00001", DOMAIN, cutoff=1000.0), sequences) == []
    ((_, row),) = search_family(profile("PF00001", DOMAIN), sequences)
    assert row == DOMAIN[:10] + "----" + DOMAIN[14:]
