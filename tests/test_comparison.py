import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from npm_core.comparison import (
    bootstrap,
    compare,
    compare_models,
    over_rounds,
    summarise,
    win_rate,
)
from npm_core.errors import DataError


def test_the_bootstrap_covers_the_normal_interval(rng):
    values = rng.normal(0.4, 0.1, size=400)
    found = bootstrap(values, seed=1)
    error = values.std() / np.sqrt(400)
    assert found.n == 400
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_the_bootstrap_is_the_percentiles_of_ten_thousand_resampled_means(rng):
    values = rng.random(400)
    picked = np.random.default_rng(7).integers(400, size=(10_000, 400))
    expected = np.percentile(values[picked].mean(1), (2.5, 97.5))
    found = bootstrap(values, seed=7)
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-12)


def test_the_bootstrap_draws_by_its_seed_alone_and_needs_values(rng):
    many = rng.random(50)
    assert bootstrap(many, seed=3) == bootstrap(many, seed=3)
    assert bootstrap(many, seed=3).low != bootstrap(many, seed=4).low
    assert bootstrap([0.25], seed=0) == bootstrap([0.25], seed=9)
    for values in ([], [0.1, np.nan]):
        with pytest.raises(DataError):
            bootstrap(values, seed=0)


def test_pairing_removes_what_proteins_share(rng):
    protein = rng.uniform(0, 1, size=200)
    second = protein
    first = protein + 0.01
    found = compare(first, second, seed=0)
    assert found.difference.low == pytest.approx(0.01)
    assert found.difference.high == pytest.approx(0.01)
    assert (found.win_rate.mean, found.ties) == (1.0, 0.0)
    same = compare(second, second, seed=0)
    assert (same.win_rate.mean, same.ties) == (0.0, 1.0)
    with pytest.raises(DataError, match="paired"):
        compare([0.1, 0.2], [0.1], seed=0)


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "model": ["npm", "npm", "npm", "potts", "potts", "potts"],
            "id": ["a", "b", "c", "b", "a", "d"],
            "range": "long",
            "round": ["0", "1", "1", "1", "0", "1"],
            "precision": [0.5, 0.2, 0.9, 0.2, 0.1, 0.3],
        }
    )


def test_models_are_compared_on_the_proteins_both_have(table):
    row = compare_models(table, "npm", "potts", ["range"], seed=0).iloc[0]
    assert row["difference"] == pytest.approx(0.2)
    assert (row["win_rate"], row["ties"]) == (0.5, 0.5)
    assert (row["n"], row["unpaired"]) == (2, 2)


def test_rows_of_one_protein_are_paired_by_the_columns_that_tell_them_apart(table):
    halved = table.assign(half=2, precision=table["precision"] / 2)
    twice = pd.concat([table.assign(half=1), halved])
    options = {"pair_on": ("id", "half"), "seed": 0}
    row = compare_models(twice, "npm", "potts", ["range"], **options).iloc[0]
    # By 0.4 and 0 they differ as above, and by half of that.
    assert row["difference"] == pytest.approx((0.4 + 0.0 + 0.2 + 0.0) / 4)
    assert (row["n"], row["unpaired"]) == (4, 4)


def test_models_without_a_common_protein_are_not_compared(table):
    strangers = table.assign(range="short").iloc[[2, 5]]
    found = compare_models(pd.concat([table, strangers]), "npm", "potts", ["range"], seed=0)
    assert found["range"].tolist() == ["long"]


def test_a_win_rate_of_few_proteins_is_not_told_as_certain():
    table = pd.DataFrame({"model": ["npm", "npm", "potts", "potts"], "id": ["a", "b", "a", "b"]})
    table = table.assign(range="long", precision=[0.5, 0.5, 0.25, 0.25])
    row = compare_models(table, "npm", "potts", ["range"], seed=0).iloc[0]
    assert (row["low"], row["high"]) == (0.25, 0.25)
    # Wilson's interval of n wins in n is n / (n + z^2) to 1, with z = 1.95996.
    assert (row["win_low"], row["win_high"]) == pytest.approx((2 / (2 + 3.84146), 1))


# Newcombe, Statistics in Medicine 17 (1998) 857, Table I, method 3.
@pytest.mark.parametrize(
    ("wins", "proteins", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(wins, proteins, low, high):
    found = win_rate(np.arange(proteins) < wins)
    assert (found.mean, found.n) == (wins / proteins, proteins)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("proteins", [1, 2, 7, 1000])
def test_wilsons_interval_is_scipys(proteins):
    for wins in {0, 1, proteins // 2, proteins}:
        found = win_rate(np.arange(proteins) < wins)
        known = binomtest(wins, proteins).proportion_ci(0.95, method="wilson")
        assert (found.low, found.high) == pytest.approx(tuple(known), abs=1e-12)
    assert win_rate([False] * proteins).low == 0
    assert win_rate([True] * proteins).high == 1


def test_rows_without_a_partner_are_counted_in_their_own_group(table):
    both = pd.concat([table, table.assign(range="short").head(4)])
    found = compare_models(both, "npm", "potts", ["range"], seed=0).set_index("range")
    assert found["n"].to_dict() == {"long": 2, "short": 1}
    assert found["unpaired"].to_dict() == {"long": 2, "short": 2}


def test_two_rows_for_one_protein_cannot_be_paired(table):
    twice = pd.concat([table, table.head(1)])
    with pytest.raises(DataError, match="tell them apart"):
        compare_models(twice, "npm", "potts", ["range"], seed=0)


def test_a_summary_has_one_row_a_group(table):
    found = summarise(table, ["model", "range"], seed=0)
    assert found["mean"].tolist() == pytest.approx([1.6 / 3, 0.2])
    assert found["n"].tolist() == [3, 3]
    assert (found["low"] <= found["mean"]).all()
    assert (found["high"] >= found["mean"]).all()


def test_the_intervals_in_a_table_are_those_of_its_values(rng):
    first, second = rng.random((2, 30))
    table = pd.DataFrame({"model": ["npm"] * 30 + ["potts"] * 30, "id": [*range(30)] * 2})
    table = table.assign(range="long", precision=[*first, *second])
    summary = summarise(table, ["model"], seed=3).set_index("model")
    assert summary.loc["npm"].to_dict() == vars(bootstrap(first, seed=3))
    row = compare_models(table, "npm", "potts", ["range"], seed=3).iloc[0]
    found = compare(first, second, seed=3)
    assert found.difference.low < found.difference.mean < found.difference.high
    assert (row["low"], row["high"]) == (found.difference.low, found.difference.high)
    assert (row["win_low"], row["win_high"]) == (found.win_rate.low, found.win_rate.high)


def test_an_empty_table_has_an_empty_summary(table):
    empty = table.head(0)
    summary = summarise(empty, ["model"], seed=0)
    compared = compare_models(empty, "npm", "potts", ["range"], seed=0)
    assert summary.empty
    assert compared.empty
    assert list(summary) == ["model", "mean", "low", "high", "n"]
    assert list(compared)[:4] == ["range", "difference", "low", "high"]


def test_rounds_are_averaged_before_their_spread_is_taken(table):
    found = over_rounds(table, ["model"]).set_index("model")
    assert found.loc["npm", "mean"] == pytest.approx((0.5 + 0.55) / 2)
    assert found.loc["npm", "sd"] == pytest.approx(0.05 / np.sqrt(2))
    assert found.loc["npm", ["rounds", "n"]].tolist() == [2, 3]
