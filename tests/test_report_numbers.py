"""Numbers, verdicts and marks of the reports' pages, from tables whose answers are seen at once."""

from types import SimpleNamespace

import pandas as pd
import pytest
from report_inputs import SETTINGS

from npm_core.precision import meff_bin
from npm_core.report import pfam_clan, protein_cards, summary, uniref50
from npm_core.report.inputs import Inputs, read_runs
from npm_core.report.page import Example
from npm_core.report.static import specifications


def long_range(split, meff, count, *, round=None, cutoff="L/5", depth=None, **models):
    """Long-range precisions of `count` proteins, the same for each of them."""
    name = f"{split}{meff:g}" + ("" if round is None else f"r{round}")
    rows = [
        (model, f"{name}n{k}", split, 50, 20, meff, "long", cutoff, value)
        for model, value in models.items()
        for k in range(count)
    ]
    columns = ["model", "id", "split", "length", "depth", "meff", "range", "cutoff", "precision"]
    table = pd.DataFrame(rows, columns=columns).assign(generalisation_loss=None)
    table = table.assign(bin=meff_bin(meff), variant="", condition=depth or "")
    stamped = {"clan": split, "round": str(round), "reduced_depth": depth}
    return table.assign(**stamped) if depth else table


def inputs(table, runs=None, variants=None):
    runs = read_runs([], []) if runs is None else runs
    variants = table[:0] if variants is None else variants
    return Inputs(table, variants, runs, [], None, None, {}, SETTINGS, 0)


@pytest.fixture(scope="module")
def by_hand():
    """Page of eight test and five training proteins; three quarters of the test ones NPM wins."""
    others = {"npm_shuffled": 0.45, "nearest": 0.0}
    parts = [
        long_range("test", 9.0, 6, npm=0.5, potts=0.25, **others),
        long_range("test", 900.0, 2, npm=0.1, potts=0.9, **others),
        long_range("train", 9.0, 5, npm=0.2, potts=0.4, **others),
    ]
    whole = pd.concat(parts, ignore_index=True)
    deeper = whole.assign(cutoff="L", precision=0.8)
    return uniref50.page(inputs(pd.concat([whole, deeper], ignore_index=True)))


def figure(page, name):
    return next(one for one in page.figures if one.id == name)


def test_the_first_screen_has_each_splits_own_differences_and_win_rates(by_hand):
    assert by_hand.headline == (
        "On 6 test proteins with Meff in (0, 15], NPM is more precise than the independent Potts "
        "model; on 5 train proteins with Meff in (0, 15], it is less precise than it."
    )
    assert [(tile.what, tile.value) for tile in by_hand.tiles] == [
        ("NPM − Independent Potts", "+0.250"),
        ("NPM − shuffled query", "+0.050"),
        ("NPM wins over independent Potts", "75.0%"),
        ("NPM − Independent Potts", "−0.200"),
        ("NPM − shuffled query", "−0.250"),
        ("NPM wins over independent Potts", "0.0%"),
    ]
    assert [tile.outcome for tile in by_hand.tiles[::3]] == ["better", "worse"]


def test_wins_are_over_the_independent_potts_model(by_hand):
    found = figure(by_hand, "wins").table.set_index(["split", "bin"])
    rates = found["win_rate"].dropna().to_dict()
    assert rates == {
        ("train", "all"): 0.0,
        ("train", "(0, 15]"): 0.0,
        ("test", "all"): 0.75,
        ("test", "(0, 15]"): 1.0,
        ("test", "> 500"): 0.0,
    }
    assert found.loc[("test", "all"), "difference"] == pytest.approx((6 * 0.25 - 2 * 0.8) / 8)


def test_controls_are_each_compared_with_npm(by_hand):
    found = figure(by_hand, "controls").table.set_index(["split", "bin", "model"])["difference"]
    test = {model: found["test", "all", model] for model in ("potts", "npm_shuffled", "nearest")}
    assert test == pytest.approx({"potts": -0.0125, "npm_shuffled": -0.05, "nearest": 0.4})


def test_controls_whose_ranking_breaks_off_among_ties_are_named():
    table = long_range("test", 9.0, 6, npm=0.5, potts=0.2, nearest=0.1)
    tied = {"npm": 1, "potts": 2, "nearest": 0}
    table["tied"] = table["model"].map(tied)
    table.loc[table["id"] == "test9n0", "tied"] = 0
    caption = figure(uniref50.page(inputs(table)), "controls").caption
    assert "in these shares of the predictions: NPM 5 of 6, Independent Potts 5 of 6. W" in caption
    warning = "the independent Potts model (whose rankings all break off among ties)."
    assert warning not in uniref50.page(inputs(table)).headline
    table["tied"] = table["model"].map({"npm": 1, "potts": 2, "nearest": 0})
    assert uniref50.page(inputs(table)).headline.endswith(warning)
    table["tied"] = 0
    assert "pairs of one score" not in figure(uniref50.page(inputs(table)), "controls").caption


def test_figure_10_names_the_cut_off_of_each_panel(by_hand):
    found = figure(by_hand, "figure-10").table
    found = found[(found["model"] == "npm") & (found["bin"] == "(0, 15]")]
    means = found.set_index("panel")["mean"].astype(float).to_dict()
    assert means == pytest.approx(
        {"train, P@L": 0.8, "train, P@L/5": 0.2, "test, P@L": 0.8, "test, P@L/5": 0.5}
    )


def test_the_depths_drawn_are_those_of_the_targets_alignments(by_hand):
    found = figure(by_hand, "depths").table
    assert found.to_numpy().tolist() == [["targets of this report", 20.0, 1.0]]


@pytest.fixture(scope="module")
def three_clans():
    """Page of three clans, rounds and two depths: NPM is better in A when shallow, else not."""
    parts = [
        long_range(
            clan,
            9.0,
            2,
            round=k,
            cutoff="L",
            depth=depth,
            npm=npm + 0.01 * k,
            potts=potts,
            npm_shuffled=0.9 if depth == "full" else 0.3,
        )
        for clan, npm, depth, potts in (
            ("A", 0.6, "10", 0.11),
            ("A", 0.6, "full", 0.91),
            ("B", 0.2, "10", 0.51),
            ("B", 0.2, "full", 0.71),
            ("C", 0.2, "10", 0.51),
            ("C", 0.2, "full", 0.71),
        )
        for k in range(3)
    ]
    runs = pd.DataFrame(
        [
            ("A", depth, str(k), f"A {k} {depth}", 0, "pseudolikelihood", 2.0)
            for depth in ("10", "full")
            for k in range(3)
        ],
        columns=["clan", "reduced_depth", "round", "run", "step", "quantity", "value"],
    )
    tied = [
        long_range("A", 9.0, 2, round=k, cutoff=cutoff, depth="10", npm=npm, potts=0.11)
        for cutoff, npm in (("L", 0.3), ("L/5", 0.9))
        for k in range(3)
    ]
    variants = pd.concat(tied, ignore_index=True).assign(variant="tied")
    return pfam_clan.page(inputs(pd.concat(parts, ignore_index=True), runs, variants))


def test_the_headline_counts_the_clans_in_which_npm_is_better_and_worse(three_clans):
    assert three_clans.headline == (
        "With MSAs reduced to depth 10, NPM is more precise than the independent Potts model in 1 "
        "of 3 clans and is less precise in 2."
    )


def test_tiles_of_a_clan_are_its_own_at_the_shallowest_and_the_deepest_alignments(three_clans):
    shown = [(tile.what, tile.value, tile.detail.split(" of ")[1]) for tile in three_clans.tiles]
    assert shown[:6] == [
        ("NPM − Independent Potts", "+0.500", "A reduced to depth 10"),
        ("NPM − shuffled query", "+0.310", "A reduced to depth 10"),
        ("NPM − Independent Potts", "−0.300", "A at full depth"),
        ("NPM − Independent Potts", "−0.300", "B reduced to depth 10"),
        ("NPM − shuffled query", "−0.090", "B reduced to depth 10"),
        ("NPM − Independent Potts", "−0.500", "B at full depth"),
    ]


def test_controls_of_clans_are_compared_at_each_depth(three_clans):
    found = figure(three_clans, "controls").table
    found = found.set_index(["clan", "reduced_depth", "model"])["difference"].astype(float)
    assert found["A", "full", "potts"] == pytest.approx(-0.3)
    assert found["A", "full", "npm_shuffled"] == pytest.approx(-0.29)
    assert found["B", "10", "potts"] == pytest.approx(-0.3)


def test_numbers_and_controls_of_the_headline_stand_below_it(by_hand, three_clans):
    told = by_hand.explanation.replace("(95", "|").split("|")
    assert told[0].endswith("Test, n = 6: +0.250 ")
    assert told[1].endswith(
        "; of the controls, it is more precise than NPM on a shuffled query and the nearest "
        "neighbour's Potts model. Train, n = 5: −0.200 "
    )
    told = three_clans.explanation.replace("(95", "|").split("|")
    assert told[0].endswith("A, n = 6: +0.500 ")
    assert told[1].endswith(
        "; of the controls, it is more precise than NPM on a shuffled query. B, n = 6: −0.300 "
    )


def test_figure_8_compares_heads_by_the_same_precision(three_clans):
    found = figure(three_clans, "figure-8").table
    found = found[(found["clan"] == "A") & (found["range"] == "long")]
    assert found.set_index("variant")["mean"].astype(float).to_dict() == pytest.approx(
        {"tied": 0.3, "NPM of this report": 0.61}
    )


def test_depths_stand_on_the_axis_from_shallow_to_deep(three_clans):
    layers = figure(three_clans, "figure-3").spec()["spec"]["layer"]
    orders = [layer["encoding"]["x"]["scale"]["domain"] for layer in layers]
    assert orders == [["10", "full"]] * 3


def test_lines_of_figure_4_are_depths(three_clans):
    assert set(figure(three_clans, "training").table["line"]) == {"depth 10", "depth full"}


def test_an_interval_over_three_rounds_is_students_with_two_degrees_of_freedom():
    rounds = [
        long_range("A", 9.0, 2, round=k, cutoff="L", depth="10", npm=npm, potts=0.0)
        for k, npm in enumerate((0.1, 0.2, 0.6))
    ]
    (row,) = summary.round_differences(pd.concat(rounds), ["clan"], baseline="potts").to_dict(
        "records"
    )
    # SD of the three is 0.26458, t at 97.5 % with two degrees of freedom 4.3027.
    assert row["low"] == pytest.approx(0.3 - 4.3027 * 0.26458 / 3**0.5, abs=1e-4)
    assert row["high"] == pytest.approx(0.3 + 4.3027 * 0.26458 / 3**0.5, abs=1e-4)


def drawn(spec):
    """(mark, channel, column) of everything a chart draws."""
    if isinstance(spec, list):
        return set().union(*map(drawn, spec), set())
    if not isinstance(spec, dict):
        return set()
    found = set().union(*(drawn(value) for value in spec.values()), set())
    mark = spec.get("mark")
    kind = mark.get("type") if isinstance(mark, dict) else mark
    channels = spec.get("encoding", {})
    return found | {
        (kind, channel, told["field"])
        for channel, told in channels.items()
        if kind and channel in ("x", "y", "y2") and isinstance(told, dict) and "field" in told
    }


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("figure-5", [("bar", "y", "mean"), ("rule", "y", "low"), ("rule", "y2", "high")]),
        ("scatter", [("circle", "x", "potts"), ("circle", "y", "npm")]),
        ("wins", [("point", "y", "win_rate"), ("rule", "y", "win_low")]),
        ("wins", [("rule", "y2", "win_high")]),
        ("controls", [("point", "y", "difference"), ("rule", "y", "low"), ("rule", "y2", "high")]),
        ("figure-10", [("bar", "y", "mean"), ("rule", "y", "low"), ("rule", "y2", "high")]),
        ("depths", [("line", "x", "depth"), ("line", "y", "share")]),
    ],
)
def test_a_chart_of_uniref50_draws_what_its_caption_says(by_hand, name, marks):
    assert set(marks) <= drawn(figure(by_hand, name).spec())


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("figure-3", [("line", "y", "mean"), ("rule", "y", "low"), ("rule", "y2", "high")]),
        ("figure-9", [("line", "y", "mean"), ("point", "y", "mean"), ("rule", "y2", "high")]),
        ("training", [("line", "x", "step"), ("line", "y", "value")]),
    ],
)
def test_a_chart_of_clans_draws_what_its_caption_says(three_clans, name, marks):
    assert set(marks) <= drawn(figure(three_clans, name).spec())


def test_a_contact_map_for_a_paper_has_npm_below_and_potts_above_the_diagonal():
    card = {
        "length": 30,
        "unresolved": [],
        "contacts": [29],
        "maps": {"": {"npm": {"long": [29]}, "potts": {"long": [29]}}},
    }
    page = SimpleNamespace(
        figures=[],
        examples=[Example("t", "", "")],
        cards={"t": protein_cards.pack(card)},
        metric={"range": "long", "cutoff": "L"},
    )
    ((_, spec),) = specifications(page)
    placed = {(p["model"], p["x"], p["y"]) for p in spec["datasets"]["predictions"]}
    assert placed == {("NPM", 1, 30), ("Independent Potts", 30, 1)}


def test_a_target_is_in_the_bin_of_its_own_meff(tmp_path):
    table = pd.concat([long_range("test", meff, 1, npm=0.5) for meff in (15.0, 15.1, 500.0)])
    table.drop(columns=["bin", "condition"]).to_parquet(tmp_path / "p.parquet")
    found = summary.read_precision(tmp_path / "p.parquet")
    assert found["bin"].tolist() == ["(0, 15]", "(15, 50]", "(100, 500]"]
