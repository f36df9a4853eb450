"""Effects of mutations: by hand, by the law of energies, and what the verb refuses."""

import csv

import numpy as np
import pytest

from npm_core import model_files, potts
from npm_core.alphabet import STATES, encode
from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.numbering import from_one
from npm_core.potts import Potts
from npm_core.variants import log_odds, parse_variant

QUERY = "ACDEF"
NUMBERS = from_one(5)


@pytest.fixture
def model(rng):
    upper = rng.normal(size=(10, STATES, STATES)).astype(np.float32)
    fields = rng.normal(size=(5, STATES)).astype(np.float32)
    return Potts(fields, potts.full_couplings(upper, 5), {"query": QUERY})


def test_one_mutation_changes_its_field_and_its_couplings():
    model = Potts(np.zeros((3, STATES), np.float32), np.zeros((3, 3, 21, 21), np.float32))
    a, c, d, g = encode("ACDG")
    model.fields[1, c], model.fields[1, g] = 0.5, 2.0
    model.couplings[0, 1, a, g] = model.couplings[1, 0, g, a] = 0.25
    model.couplings[1, 2, c, d] = model.couplings[2, 1, d, c] = 1.0
    model.couplings[0, 2, a, d] = model.couplings[2, 0, d, a] = 8.0  # does not change
    found = log_odds(
        model, "ACD", [parse_variant(text, "ACD", from_one(3)) for text in ("C2G", "C2C")]
    )
    assert found.tolist() == [2.0 - 0.5 + 0.25 - 1.0, 0.0]


@pytest.mark.parametrize("text", ["A1G", "F5Y", "A1G:E4P", "E4P:A1G", "A1C:C2D:D3E:E4F:F5A"])
def test_a_variant_is_the_difference_of_two_energies(model, text):
    mutant = list(QUERY)
    for part in text.split(":"):
        mutant[int(part[1]) - 1] = part[2]
    energies = potts.energy(model, np.stack([encode(QUERY), encode("".join(mutant))]))
    found = log_odds(model, QUERY, [parse_variant(text, QUERY, NUMBERS)])
    assert found == pytest.approx(energies[0] - energies[1], abs=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("G1A", "G1A: residue 1 of the query is A"),
        ("A0G", "A0G: residue 0 has no column in the model, which has 1-5"),
        ("F6A", "residue 6 has no column in the model, which has 1-5"),
        ("A1X", "no mutation"),
        ("A1-", "no mutation"),
        ("a1G", "no mutation"),
        ("A1G:", "no mutation"),
        ("", "no mutation"),
        ("A1G:A1C", "residue 1 is mutated twice"),
        ("WT:A1C", "no mutation"),
    ],
)
def test_what_is_no_mutation_of_the_query_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        parse_variant(text, QUERY, NUMBERS)


def score(folder, text, *options):
    (folder / "in.csv").write_text(text)
    words = ["--potts", str(folder / "a.npz"), "--variants", str(folder / "in.csv")]
    return main(["score-variants", *words, "--output", str(folder / "out.csv"), *options])


def test_the_verb_adds_a_column_and_keeps_the_others(tmp_path, model):
    model_files.write_model(tmp_path / "a.npz", model)
    assert score(tmp_path, 'name,mutant\n"one, two",A24G:D26P\nx,C25A\n', "--first", "24") == 0
    with (tmp_path / "out.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    expected = log_odds(
        model, QUERY, [parse_variant(text, QUERY, NUMBERS) for text in ("A1G:D3P", "C2A")]
    )
    assert rows[0] == ["name", "mutant", "delta"]
    assert [row[:2] for row in rows[1:]] == [["one, two", "A24G:D26P"], ["x", "C25A"]]
    assert np.allclose([float(row[2]) for row in rows[1:]], expected, atol=1e-6)


def deltas(folder):
    with (folder / "out.csv").open(newline="") as stream:
        return list(csv.reader(stream))


def test_residues_have_the_numbers_of_the_model(tmp_path, model):
    numbered = Potts(model.fields, model.couplings, {"query": QUERY, "numbers": "24-25 29-31"})
    model_files.write_model(tmp_path / "a.npz", numbered)
    assert score(tmp_path, "mutant\nA24G:D29P\nF31A\n") == 0
    expected = log_odds(
        model, QUERY, [parse_variant(v, QUERY, NUMBERS) for v in ("A1G:D3P", "F5A")]
    )
    assert np.allclose([float(row[1]) for row in deltas(tmp_path)[1:]], expected, atol=1e-6)


def test_the_query_itself_has_no_effect_and_blank_lines_are_nothing(tmp_path, model):
    model_files.write_model(tmp_path / "a.npz", model)
    assert score(tmp_path, "mutant\nWT\n\n\n") == 0
    assert deltas(tmp_path) == [["mutant", "delta"], ["WT", "0.000000"]]


def test_rows_that_cannot_be_scored_are_left_empty_where_asked_for(tmp_path, model, capsys):
    model_files.write_model(tmp_path / "a.npz", model)
    assert score(tmp_path, "mutant,x\nA1*,1\nA1A,2\nG9A,3\n", "--skip-unscorable") == 0
    header, stop, same, outside = deltas(tmp_path)
    assert header == ["mutant", "x", "delta", "reason"]
    assert stop[:3] == ["A1*", "1", ""]
    assert "no mutation" in stop[3]
    assert same == ["A1A", "2", "0.000000", ""]
    assert outside == ["G9A", "3", "", "G9A: residue 9 has no column in the model, which has 1-5"]
    assert "1 mutants scored, 2 not" in capsys.readouterr().err


def test_a_query_can_be_given_for_a_model_without_one(tmp_path, model, capsys):
    model_files.write_model(tmp_path / "a.npz", Potts(model.fields, model.couplings))
    (tmp_path / "q.fasta").write_text(f">q\n{QUERY}\n")
    assert score(tmp_path, "mutant\nA1G\n", "--query", str(tmp_path / "q.fasta")) == 0
    expected = log_odds(model, QUERY, [parse_variant("A1G", QUERY, NUMBERS)])
    assert float(deltas(tmp_path)[1][1]) == pytest.approx(expected[0], abs=1e-6)
    (tmp_path / "q.fasta").write_text(">q\nACDE\n")
    assert score(tmp_path, "mutant\nA1G\n", "--query", str(tmp_path / "q.fasta")) == 2
    assert "q of 4; expected one sequence of the model's 5 residues" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mutant\nA1G\nC1G\n", "in.csv, line 3: C1G: residue 1"),
        ("mutant\nA9G\n", "which has 1-5; --skip-unscorable leaves such rows"),
        ("mutant,x\nA1G\n", "line 2: 1 cells, 2 columns"),
        ("variant\nA1G\n", "expected one called mutant"),
        ("mutant,delta\nA1G,0\n", "none delta"),
        ("mutant\n", "no mutants"),
        ("", "expected one called mutant"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused(tmp_path, model, capsys, text, message):
    model_files.write_model(tmp_path / "a.npz", model)
    assert score(tmp_path, text) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_a_model_without_a_query_is_refused(tmp_path, model, capsys):
    model_files.write_model(tmp_path / "a.npz", Potts(model.fields, model.couplings))
    assert score(tmp_path, "mutant\nA1G\n") == 2
    assert "a.npz: no query is stored" in capsys.readouterr().err
