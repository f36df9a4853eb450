"""Effects of mutations: by hand, by the law of energies, and what the verb refuses."""

import csv

import numpy as np
import pytest

from npm_core import potts, potts_files
from npm_core.alphabet import STATES, encode
from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.numbering import from_one
from npm_core.potts import Potts
from npm_core.variants import (
    Agreement,
    agreement,
    log_odds,
    parse_variant,
    places,
    rank_correlation,
    read_table,
    single_mutants,
)

QUERY = "ACDEF"
NUMBERS = from_one(5)
PLACES = places(NUMBERS)


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
        model, "ACD", [parse_variant(text, "ACD", places(from_one(3))) for text in ("C2G", "C2C")]
    )
    assert found.tolist() == [2.0 - 0.5 + 0.25 - 1.0, 0.0]


@pytest.mark.parametrize("text", ["A1G", "F5Y", "A1G:E4P", "E4P:A1G", "A1C:C2D:D3E:E4F:F5A"])
def test_a_variant_is_the_difference_of_two_energies(model, text):
    mutant = list(QUERY)
    for part in text.split(":"):
        mutant[int(part[1]) - 1] = part[2]
    energies = potts.energy(model, np.stack([encode(QUERY), encode("".join(mutant))]))
    found = log_odds(model, QUERY, [parse_variant(text, QUERY, PLACES)])
    assert found == pytest.approx(energies[0] - energies[1], abs=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("G1A", "G1A: residue 1 of the query is A"),
        ("A0G", "A0G: residue 0 has no column in the model, which has 1-5"),
        ("A-1G", "A-1G: residue -1 has no column in the model, which has 1-5"),
        (f"A{'9' * 5000}G", "no mutation"),
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
        parse_variant(text, QUERY, PLACES)


def score(folder, text, *options):
    (folder / "in.csv").write_text(text)
    words = ["--potts", str(folder / "a.npz"), "--variants", str(folder / "in.csv")]
    return main(["score-variants", *words, "--output", str(folder / "out.csv"), *options])


def test_the_verb_adds_a_column_and_keeps_the_others(tmp_path, model):
    potts_files.write_model(tmp_path / "a.npz", model)
    assert score(tmp_path, 'name,mutant\n"one, two",A24G:D26P\nx,C25A\n', "--offset", "23") == 0
    with (tmp_path / "out.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    expected = log_odds(
        model, QUERY, [parse_variant(text, QUERY, PLACES) for text in ("A1G:D3P", "C2A")]
    )
    assert rows[0] == ["name", "mutant", "delta"]
    assert [row[:2] for row in rows[1:]] == [["one, two", "A24G:D26P"], ["x", "C25A"]]
    assert np.allclose([float(row[2]) for row in rows[1:]], expected, atol=1e-6)


def deltas(folder):
    with (folder / "out.csv").open(newline="") as stream:
        return list(csv.reader(stream))


def test_residues_have_the_numbers_of_the_model(tmp_path, model):
    numbered = Potts(model.fields, model.couplings, {"query": QUERY, "numbers": "24-25 29-31"})
    potts_files.write_model(tmp_path / "a.npz", numbered)
    assert score(tmp_path, "mutant\nA24G:D29P\nF31A\n") == 0
    expected = log_odds(model, QUERY, [parse_variant(v, QUERY, PLACES) for v in ("A1G:D3P", "F5A")])
    assert np.allclose([float(row[1]) for row in deltas(tmp_path)[1:]], expected, atol=1e-6)


def test_the_query_itself_has_no_effect_and_blank_lines_are_nothing(tmp_path, model):
    potts_files.write_model(tmp_path / "a.npz", model)
    assert score(tmp_path, "mutant\nWT\n\n\n") == 0
    assert deltas(tmp_path) == [["mutant", "delta"], ["WT", "0.000000"]]


def test_rows_that_cannot_be_scored_are_left_empty_where_asked_for(tmp_path, model, capsys):
    potts_files.write_model(tmp_path / "a.npz", model)
    assert score(tmp_path, "mutant,x\nA1*,1\nA1A,2\nG9A,3\n", "--skip-unscorable") == 0
    header, stop, same, outside = deltas(tmp_path)
    assert header == ["mutant", "x", "delta", "reason"]
    assert stop[:3] == ["A1*", "1", ""]
    assert "no mutation" in stop[3]
    assert same == ["A1A", "2", "0.000000", ""]
    assert outside == ["G9A", "3", "", "G9A: residue 9 has no column in the model, which has 1-5"]
    assert "1 mutants scored, 2 not" in capsys.readouterr().err


def test_a_query_can_be_given_for_a_model_without_one(tmp_path, model, capsys):
    potts_files.write_model(tmp_path / "a.npz", Potts(model.fields, model.couplings))
    (tmp_path / "q.fasta").write_text(f">q\n{QUERY}\n")
    assert score(tmp_path, "mutant\nA1G\n", "--query", str(tmp_path / "q.fasta")) == 0
    expected = log_odds(model, QUERY, [parse_variant("A1G", QUERY, PLACES)])
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
        ("mutant;x\nA1G;0\n", "columns are mutant;x (are they separated by commas?); expected one"),
        ("mutant,delta\nA1G,0\n", "in.csv: has a column delta, which would be there twice"),
        ("mutant\n", "no mutants"),
        ("", "in.csv: is empty, expected a CSV with a column mutant"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused(tmp_path, model, capsys, text, message):
    potts_files.write_model(tmp_path / "a.npz", model)
    assert score(tmp_path, text) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_the_numbering_of_mutants_is_told_from_their_letters():
    texts = ["A24G", "C25G:D26P", "A24V", "F28A", "D27E", "stop", "WT"]
    assert agreement(texts, QUERY, NUMBERS) == Agreement(5, named=0, wrong=0, offset=23, right=4)
    assert agreement(texts, QUERY, NUMBERS + 23) == Agreement(5, 5, wrong=1, offset=0, right=4)
    assert agreement(texts, QUERY, NUMBERS + 24) == Agreement(5, 4, wrong=3, offset=-1, right=4)
    assert agreement([], QUERY, NUMBERS) == Agreement(0, named=0, wrong=0, offset=0, right=0)


def test_mutants_all_outside_the_columns_are_told_the_offset_that_would_do(tmp_path, model, capsys):
    potts_files.write_model(tmp_path / "a.npz", model)
    outside = "mutant\nA24G\nC25G\nD26G\nE27G\nF28G\n"
    for option in ([], ["--skip-unscorable"]):
        assert score(tmp_path, outside, *option) == 2
        assert (
            "none of the 5 residues that the mutants name has a column; "
            "with --offset 23 5 would be the query's"
        ) in capsys.readouterr().err
    assert score(tmp_path, outside, "--offset", "23") == 0
    # Of one residue the letter alone says nothing; of five that fit nowhere neither.
    for other in ("mutant\nC25G\n", outside.translate(str.maketrans("ACDEF", "WWWWW"))):
        assert score(tmp_path, other) == 2
        assert "--skip-unscorable leaves such rows" in capsys.readouterr().err


def test_mutants_of_another_numbering_are_not_skipped(tmp_path, model, capsys):
    potts_files.write_model(tmp_path / "a.npz", model)
    # D4 and E5 are there as well, but as E and F: with 1 less they would all be the query's.
    shifted = "mutant\nA2G\nC3G\nD4G\nE5G\nF6G\n"
    for option in ([], ["--skip-unscorable"]):
        assert score(tmp_path, shifted, *option) == 2
        error = capsys.readouterr().err
        assert "4 of 4 residues that the mutants name are others in the query" in error
        assert "with --offset 1 5 would be the query's" in error
        assert not (tmp_path / "out.csv").exists()
    assert score(tmp_path, shifted, "--offset", "1") == 0
    other = "mutant\nW1G\nW2G\n"
    assert score(tmp_path, other, "--skip-unscorable") == 2
    assert "whatever is added to its numbers: is it the same protein?" in capsys.readouterr().err


def test_every_exchange_of_one_residue_can_be_scored_without_a_table(tmp_path, model, capsys):
    assert list(single_mutants("AX", NUMBERS[:2] + 5)) == [
        f"A6{one}" for one in "RNDCQEGHILKMFPSTWYV"
    ]
    potts_files.write_model(tmp_path / "a.npz", model)
    words = ["--potts", str(tmp_path / "a.npz"), "--all-singles", "--offset", "7"]
    assert main(["score-variants", *words, "--output", str(tmp_path / "out.csv")]) == 0
    header, *rows = deltas(tmp_path)
    assert header == ["mutant", "delta"]
    assert len(rows) == 5 * 19
    expected = log_odds(model, QUERY, [parse_variant("F5V", QUERY, PLACES)])
    assert rows[-1] == ["F12V", f"{expected[0]:.6f}"]
    words[-1] = "-3"
    assert main(["score-variants", *words, "--output", str(tmp_path / "out.csv")]) == 0
    assert [row[0] for row in (deltas(tmp_path)[1], deltas(tmp_path)[-1])] == ["A-2R", "F2V"]
    words[-1] = "99999999999999"
    assert main(["score-variants", *words, "--output", str(tmp_path / "out.csv")]) == 2
    assert "--offset is 99999999999999, expected -100000 to 100000" in capsys.readouterr().err
    more = ["--skip-unscorable", "--output", str(tmp_path / "out.csv")]
    assert main(["score-variants", *words, *more]) == 2
    assert "--all-singles reads no table" in capsys.readouterr().err


def test_the_rank_correlation_with_a_measured_column_is_told(tmp_path, model, capsys):
    potts_files.write_model(tmp_path / "a.npz", model)
    three = sorted(["A1G", "C2A", "D3P"], key=lambda one: deltas_of(model, one))
    text = f"mutant,fitness\n{three[0]},-4\n{three[1]},0.5\n{three[2]},9\nE4A,\nE4C,NA\nE4G,nan\n"
    assert score(tmp_path, text, "--measured", "fitness") == 0
    assert "Spearman correlation of delta with fitness: 1.000 (n = 3)" in capsys.readouterr().err
    assert score(tmp_path, "mutant,fitness\nA1G,1\nC2A,1\n", "--measured", "fitness") == 0
    assert "one of them has a single value" in capsys.readouterr().err
    for cell, message in (("high", "line 2: fitness is 'high', no number"), ("inf", "is inf")):
        assert score(tmp_path, f"mutant,fitness\nA1G,{cell}\n", "--measured", "fitness") == 2
        assert message in capsys.readouterr().err
    assert score(tmp_path, text, "--measured", "fit") == 2
    assert "no column fit; there are mutant, fitness" in capsys.readouterr().err


def test_a_rank_correlation_is_of_the_rows_that_have_both():
    told = rank_correlation("x", [1.0, None, 2.0, 3.0, 9.0], [0.1, 0.2, 0.3, 0.2, None])
    assert told == "Spearman correlation of delta with x: 0.500 (n = 3)"
    assert "one of them has a single value" in rank_correlation("x", [1.0, None], [None, 0.1])


def test_a_table_of_mutants_says_on_which_line_each_row_ends(tmp_path):
    (tmp_path / "in.csv").write_text('mutant,note\nA1G,"two\nlines"\n\nC2A,\n')
    table = read_table(tmp_path / "in.csv", ["delta"])
    assert table.column("mutant") == ["A1G", "C2A"]
    assert list(table.lines) == [3, 5]


def deltas_of(model, mutant):
    return log_odds(model, QUERY, [parse_variant(mutant, QUERY, PLACES)])[0]


def test_a_given_query_brings_its_numbers(tmp_path, model):
    potts_files.write_model(tmp_path / "a.npz", Potts(model.fields, model.couplings))
    (tmp_path / "q.fasta").write_text(f">q/53-57\n{QUERY}\n")
    assert score(tmp_path, "mutant\nA53G\n", "--query", str(tmp_path / "q.fasta")) == 0
    assert float(deltas(tmp_path)[1][1]) == pytest.approx(deltas_of(model, "A1G"), abs=1e-6)


def test_a_model_without_a_query_is_refused(tmp_path, model, capsys):
    potts_files.write_model(tmp_path / "a.npz", Potts(model.fields, model.couplings))
    assert score(tmp_path, "mutant\nA1G\n") == 2
    assert "a.npz: no query is stored" in capsys.readouterr().err
