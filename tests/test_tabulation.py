import numpy as np
import pyarrow.parquet as pq
import pytest

from npm_core.cli import main
from npm_core.tables import Scores, Target, read_metadata, write_scores, write_targets

LENGTH = 30


def straight_line(id, length=LENGTH, step=1.0, unresolved=()):
    """Residues `step` angstrom apart, so that separation s is a contact when s * step <= 8."""
    coordinates = np.zeros((length, 3), dtype=np.float32)
    coordinates[:, 0] = step * np.arange(length)
    coordinates[list(unresolved)] = np.nan
    return Target(id, "test", "A" * length, coordinates, f"{id}_A")


def nearer_is_better(length=LENGTH):
    i, j = np.indices((length, length))
    return -np.abs(i - j).astype(np.float32)


@pytest.fixture
def tables(tmp_path):
    """Two targets; the second has only two resolved residues, a medium separation apart."""
    targets = [straight_line("1abc"), straight_line("2abc", unresolved=set(range(30)) - {0, 12})]
    write_targets(tmp_path / "targets.parquet", targets, {})
    write_scores(
        tmp_path / "potts.parquet",
        [Scores("1abc", "potts", nearer_is_better(), 120, 33.5, 2.75)],
        {},
    )
    write_scores(
        tmp_path / "npm.parquet",
        [Scores(name, "npm", -nearer_is_better()) for name in ("2abc", "1abc")],
        {},
    )
    return tmp_path


def tabulate(folder, *options):
    output = folder / "precision.parquet"
    scores = [str(folder / "npm.parquet"), str(folder / "potts.parquet")]
    options = ("--targets", str(folder / "targets.parquet"), "--output", str(output), *options)
    assert main(["tabulate-precision", "--scores", *scores, *options]) == 0
    return (
        pq.read_table(output).to_pandas().set_index(["model", "id", "range", "cutoff"]).sort_index()
    )


def test_every_model_target_range_and_cutoff_has_a_row(tables):
    table = tabulate(tables)
    assert len(table) == 3 * 3 * 4 + 2 * 4
    assert table.index.is_unique
    # Of the 30 best short pairs the 24 at separation 6 come first; 7 and 8 are contacts too.
    assert table.loc[("potts", "1abc", "short", "L"), "precision"] == 1.0
    assert table.loc[("potts", "1abc", "short", "L/2"), ["pairs", "contacts"]].tolist() == [15, 15]
    # The longest separations come first: those of 11, 10 and 9 are 19 + 20 + 21 pairs.
    assert table.loc[("npm", "1abc", "short", "L"), "precision"] == 0.0
    assert table.loc[("npm", "1abc", "long", "L"), "pairs"] == 21


def test_chance_is_the_share_of_contacts_among_all_pairs(tables):
    table = tabulate(tables)
    chance = table.loc[("chance", "1abc", "short")]
    contacts, pairs = 24 + 23 + 22, 24 + 23 + 22 + 21 + 20 + 19
    assert chance["precision"].tolist() == pytest.approx([contacts / pairs] * 4)
    assert chance["contacts"].isna().all()


def test_depth_and_meff_are_those_of_the_independent_potts_model(tables):
    table = tabulate(tables)
    assert set(table.xs("1abc", level="id")["depth"]) == {120}
    assert set(table.xs("1abc", level="id")["meff"]) == {33.5}
    assert table.xs("2abc", level="id")["depth"].isna().all()


def test_the_generalisation_loss_is_the_models_own(tables):
    losses = tabulate(tables).xs("1abc", level="id")["generalisation_loss"]
    assert set(losses["potts"]) == {2.75}
    assert losses[["npm", "chance"]].isna().all()


def test_what_cannot_be_measured_is_counted_in_the_metadata(tables):
    table = tabulate(tables)
    assert set(table.xs("2abc", level="id").index.get_level_values("range")) == {"medium"}
    assert set(table.xs("2abc", level="id")["length"]) == {LENGTH}, "unresolved residues count"
    left_out = read_metadata(tables / "precision.parquet")["left_out"]
    assert left_out == {
        "unscorable": {"short": 1, "medium": 0, "long": 1},
        "unscored": {"npm": 0, "potts": 1},
    }


def test_stamped_columns_and_the_contact_distance_reach_the_table(tables):
    table = tabulate(tables, "--column", "clan=X", "round=0", "--contact-distance", "6")
    assert set(table["clan"]) == {"X"}
    assert set(table["round"]) == {"0"}
    assert table.loc[("potts", "1abc", "short", "L"), "contacts"] == 24
    # Of separations 6 to 11 only 6 is a contact now, by chance as well.
    pairs = 24 + 23 + 22 + 21 + 20 + 19
    assert table.loc[("chance", "1abc", "short", "L"), "precision"] == pytest.approx(24 / pairs)
    assert read_metadata(tables / "precision.parquet")["columns"] == {
        "clan": "X",
        "round": "0",
    }


def test_no_scores_and_no_targets_make_an_empty_table(tmp_path):
    write_targets(tmp_path / "targets.parquet", [], {})
    for name in ("npm", "potts"):
        write_scores(tmp_path / f"{name}.parquet", [], {})
    table = tabulate(tmp_path)
    assert table.empty
    assert "precision" in table.columns


def failure(folder, capsys, *options):
    scores = str(folder / "npm.parquet")
    targets = str(folder / "targets.parquet")
    output = folder / "none.parquet"
    options = ("--targets", targets, "--output", str(output), *options)
    assert main(["tabulate-precision", "--scores", scores, *options]) == 2
    assert not output.exists()
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (Scores("3abc", "npm", nearer_is_better()), "scores of 3abc by npm: no target"),
        (Scores("1abc", "npm", nearer_is_better(29)), "scores of 1abc by npm: scores are (29, 29)"),
        (Scores("1abc", "chance", nearer_is_better()), 'a model is named "chance"'),
    ],
)
def test_scores_that_fit_no_target_stop_the_table(tables, capsys, scores, message):
    write_scores(tables / "npm.parquet", [scores], {})
    assert message in failure(tables, capsys)


def test_another_table_given_for_scores_is_refused_in_one_line(tables, capsys):
    error = failure(tables, capsys, "--scores", str(tables / "targets.parquet"))
    assert error == (
        f"ERROR: {tables / 'targets.parquet'}: columns ['depth', 'meff', 'model'] are missing\n"
    )


def test_one_model_cannot_score_a_target_twice(tables, capsys):
    assert "second row of 1abc by potts" in failure(
        tables, capsys, "--scores", *[str(tables / "potts.parquet")] * 2
    )


@pytest.mark.parametrize(
    ("column", "message"),
    [("round", "expected NAME=VALUE"), ("model=x", "has a column model already")],
)
def test_a_column_needs_a_new_name_and_a_value(tables, capsys, column, message):
    assert message in failure(tables, capsys, "--column", column)


def test_a_target_twice_is_an_error(tables, capsys):
    again = [str(tables / "targets.parquet")] * 2
    assert "occurs twice" in failure(tables, capsys, "--targets", *again)


def test_a_users_matrix_and_structure_give_a_table(tmp_path):
    """The verbs contacts and precision, from a PDB file on."""
    lines = [
        f"ATOM  {2 * number:>5}  CB  ALA A{number:>4}    {number:8.3f}   0.000   0.000  1.00  0.00"
        f"           C  \n"
        f"ATOM  {2 * number + 1:>5}  CA  ALA A{number:>4}    {number:8.3f}   1.000   0.000"
        f"  1.00  0.00           C  \n"
        for number in range(1, LENGTH + 1)
    ]
    (tmp_path / "line.pdb").write_text("".join(lines))
    np.savetxt(tmp_path / "line.mat", nearer_is_better())
    structure, contacts = str(tmp_path / "line.pdb"), str(tmp_path / "contacts.npz")
    assert main(["contacts", "--structure", structure, "--output", contacts]) == 0
    with np.load(contacts) as found:
        assert str(found["sequence"]) == "A" * LENGTH
        assert found["resolved"].all()
        assert found["distances"][0, 5] == pytest.approx(5.0)
    scores, output = str(tmp_path / "line.mat"), tmp_path / "precision.tsv"
    options = ["--contacts", contacts, "--output", str(output)]
    assert main(["precision", "--scores", scores, *options]) == 0
    rows = [line.split("\t") for line in output.read_text().splitlines()]
    assert rows[0] == ["range", "cutoff", "precision", "pairs", "contacts", "chance", "tied"]
    # Separations 6 and 7 have 24 and 23 pairs: six of the latter are among the first 30.
    assert rows[1] == ["short", "L", "1.000000", "30", "30", f"{69 / 129:.6f}", "6"]
    assert rows[4] == ["short", "AUC", "1.000000", "30", "", f"{69 / 129:.6f}", ""]
    assert len(rows) == 1 + 3 * 4
