"""The report: its numbers by hand, and what must hold for every page."""

import base64
import hashlib
import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from report_inputs import HOSTILE, SETTINGS, flags, fold, guess, write_pfam, write_uniref50

from npm_core.cli import main, verbs
from npm_core.errors import DataError
from npm_core.leakage import ABSENT, OCCURS, UNKNOWN
from npm_core.precision import RANGES, top_precision
from npm_core.report import contents, protein_cards, summary
from npm_core.report.figures import shades
from npm_core.report.inputs import (
    Inputs,
    alignment_conditions,
    left_out,
    read_drops,
    read_hours,
    read_leakage,
    read_runs,
    read_sweep,
    score_conditions,
)
from npm_core.report.models import SKY, VERMILLION
from npm_core.report.page import Page
from npm_core.report.pfam_clan import page as pfam_clan_page
from npm_core.tables import read_metadata, read_scores, read_targets


def precision_table(**models: list[float]) -> pd.DataFrame:
    """Long-range P@L/5 of targets t0, t1, ... of Meff 10 by each model."""
    rows = [
        (model, f"t{k}", "test", 50, 20, 10.0, None, "long", "L/5", value)
        for model, values in models.items()
        for k, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=summary.COLUMNS).assign(bin="(0, 15]", condition="")


def write_table(path: Path, table: pd.DataFrame) -> Path:
    pq.write_table(pa.Table.from_pandas(table.drop(columns=["bin", "condition"])), path)
    return path


def data_of(page: str, name: str) -> dict:
    """The JSON of one script element of a page."""
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture(scope="module")
def uniref50(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[Path]], str]:
    folder = tmp_path_factory.mktemp("uniref50")
    made = write_uniref50(folder)
    output = folder / "uniref50.html"
    words = ["report", "--experiment", "uniref50", *flags(made), "--output", str(output)]
    assert main(words) == 0
    return made, output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pfam_clan(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[Path]], str]:
    folder = tmp_path_factory.mktemp("pfam_clan")
    made = write_pfam(folder)
    output = folder / "pfam_clan.html"
    words = ["report", "--experiment", "pfam_clan", *flags(made), "--output", str(output)]
    assert main(words) == 0
    return made, output.read_text(encoding="utf-8")


def test_each_input_stands_in_the_page_and_the_families_trained_on_in_one_line(uniref50, tmp_path):
    made, page = uniref50
    for paths in (made["targets"], made["metrics"], made["settings"]):
        digest = hashlib.sha256(paths[0].read_bytes()).hexdigest()[:16]
        assert f"<td>{paths[0]}</td><td><code>{digest}</code></td>" in page
    (families,) = made["families"]
    size = families.stat().st_size
    assert f"<td>{families}</td><td><code>{size:,} bytes</code></td>" in page
    again = tmp_path / "again.parquet"
    shutil.copy(families, again)
    output = tmp_path / "page.html"
    words = flags(made | {"families": [families, again]})
    assert main(["report", "--experiment", "uniref50", *words, "--output", str(output)]) == 0
    line = f"<td>{families} to {again}, 2 tables</td><td><code>{2 * size:,} bytes</code></td>"
    assert line in output.read_text(encoding="utf-8")


def test_a_paired_difference_counts_only_targets_both_models_have():
    table = precision_table(npm=[0.5, 0.6, 0.9], potts=[0.4, 0.6])
    (row,) = summary.differences(table, ["bin"], baseline="potts", seed=1).to_dict("records")
    assert row["n"] == 2
    assert row["difference"] == pytest.approx(0.05)
    assert row["win_rate"] == 0.5
    assert row["ties"] == 0.5
    assert row["unpaired"] == 1


def test_a_target_is_paired_with_itself_at_the_same_depth_and_round():
    shallow = precision_table(npm=[0.5, 0.6], potts=[0.1, 0.2]).assign(reduced_depth="10")
    deep = precision_table(npm=[0.5, 0.6], potts=[0.6, 0.9]).assign(reduced_depth="full")
    table = pd.concat([shallow, deep])
    assert sorted(summary.pairs(table, "potts")["difference"]) == pytest.approx(
        [-0.3, -0.1, 0.4, 0.4]
    )
    (row,) = summary.differences(table, ["bin"], baseline="potts", seed=1).to_dict("records")
    assert (row["n"], row["win_rate"]) == (4, 0.5)
    assert row["difference"] == pytest.approx(0.1)


@pytest.mark.parametrize("count", [1, 4, 5])
def test_a_handful_of_targets_has_a_mean_and_no_interval(count):
    table = precision_table(npm=count * [0.5], potts=count * [0.25])
    for found in (summary.means(table, ["bin"], seed=1),
                  summary.differences(table, ["bin"], baseline="potts", seed=1)):  # fmt: skip
        row = found.iloc[0]
        assert row["n"] == count
        assert (row["low"] is None) == (row["high"] is None) == (count < 5)


def test_rounds_are_averaged_before_their_deviation_is_taken():
    table = precision_table(npm=[0.2, 0.4, 0.7, 0.7, 0.7], potts=[0.1] * 5)
    table["round"] = ["0", "0", "1", "1", "1"] * 2
    npm = summary.rounds(table, ["bin"]).set_index("model").loc["npm"]
    assert npm["mean"] == pytest.approx(0.5)
    assert npm["sd"] == pytest.approx(np.std([0.3, 0.7], ddof=1))
    (row,) = summary.round_differences(table, ["bin"], baseline="potts").to_dict("records")
    assert row["difference"] == pytest.approx(0.4)
    assert (row["rounds"], row["n"]) == (2, 5)
    # Student's t at 97.5 % with one degree of freedom is 12.706; the rounds differ by 0.2 and 0.6.
    assert row["low"] == pytest.approx(0.4 - 12.706 * 0.2, abs=1e-3)
    assert row["high"] == pytest.approx(0.4 + 12.706 * 0.2, abs=1e-3)
    # Of fewer than five targets there is none, however they agree.
    (row,) = summary.round_differences(
        table[table["id"].isin(table["id"].unique()[1:])], ["bin"], baseline="potts"
    ).to_dict("records")
    assert (row["rounds"], row["n"], row["low"], row["high"]) == (2, 4, None, None)


def test_one_round_has_no_deviation():
    table = precision_table(npm=[0.2, 0.4]).assign(round="0")
    (row,) = summary.rounds(table, ["bin"]).to_dict("records")
    assert (row["sd"], row["low"], row["high"]) == (None, None, None)


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.01, 0.1, "better"),
        (-0.1, -0.01, "worse"),
        (-0.1, 0.1, "open"),
        (0.0, 0.1, "open"),
        (-0.1, 0.0, "open"),
        (None, None, "few"),
    ],
)
def test_a_verdict_is_open_unless_the_interval_leaves_zero_out(low, high, outcome):
    verdict = summary.Verdict(
        "3 proteins", "chance", "chance", "P@L", 3, 0.05, low, high, "95 % interval"
    )
    assert verdict.outcome == outcome


def verdict(where: str, low: float | None, high: float | None, baseline: str = "Potts"):
    return summary.Verdict(where, baseline, baseline, "P@L", 3, 0.05, low, high, "95 % interval")


def test_the_headline_says_first_where_models_are_told_apart():
    few, better = verdict("1 test protein", None, None), verdict("18 proteins", 0.01, 0.1)
    assert summary.headline([few, verdict("7", -0.1, 0.1), better]) == (
        "On 18 proteins, NPM is more precise than Potts; on 7, it cannot be told from it; "
        "on 1 test protein, it has too few targets to be compared with it."
    )
    assert summary.headline([better, verdict("3 more", 0.1, 0.2)]) == (
        "On 18 proteins and on 3 more, NPM is more precise than Potts."
    )


def test_the_controls_are_sorted_by_what_they_say():
    found = [
        verdict("", 0.1, 0.2, "chance"),
        verdict("", 0.1, 0.2, "the neighbour"),
        verdict("", -0.1, 0.2, "a shuffled query"),
    ]
    assert summary.controls_clause(found) == (
        "; of the controls, it is more precise than chance and the neighbour and "
        "cannot be told from a shuffled query"
    )
    assert summary.controls_clause([]) == ""


def test_depths_are_ordered_as_numbers_and_full_is_last():
    assert summary.depth_order(["full", "100", "30", "1000"]) == ["30", "100", "1000", "full"]


def test_the_papers_win_rates_stand_beside_those_of_all_targets(uniref50):
    _, page = uniref50
    wins = figures_of(page)["wins"]
    rows = [dict(zip(wins["columns"], row, strict=True)) for row in wins["rows"]]
    assert {
        (row["split"], row["bin"]): row["paper"] for row in rows if row["paper"] is not None
    } == {("train", "all"): 0.223, ("test", "all"): 0.227}


def test_maps_are_of_the_best_and_the_worst_targets():
    table = precision_table(npm=[k / 10 for k in range(7)], potts=[0.3] * 7)
    names = [f"t{k}" for k in range(7)]
    shown = contents.maps(table, dict.fromkeys(names, ""), metric="P@L/5", top="")
    assert [one.id for one in shown.examples] == ["t6", "t5", "t4", "t0", "t1", "t2"]
    few = contents.maps(table, {"t1": "", "t5": ""}, metric="P@L/5", top="")
    assert [one.id for one in few.examples] == ["t5", "t1"]


def test_the_table_of_targets_and_the_scatter_compare_npm_with_potts():
    table = precision_table(npm=[0.5, 0.25, 0.0], potts=[0.25, 0.25, 0.5])
    wide, _ = contents.target_table(table, split_label="set", condition=None)
    assert wide["difference"].tolist() == [0.25, 0.0, -0.5]
    figure = contents.scatter(table, metric="P@L/5", splits=["test"], title="")
    assert "NPM is more precise on 1 of 3" in figure.alt


def test_trainings_are_averaged_over_rounds_and_shaded_one_deviation():
    runs = pd.DataFrame(
        [
            ("A", "10", f"r{k}", step, "pseudolikelihood", value + step)
            for k, value in enumerate((1.0, 3.0))
            for step in range(2)
        ],
        columns=["clan", "reduced_depth", "run", "step", "quantity", "value"],
    )
    figure = contents.training(runs, row="clan", line="reduced_depth", title="", caption="")
    found = figure.table[["step", "value", "low", "high", "runs"]].to_numpy().tolist()
    sd = 2**0.5
    assert np.allclose(found, [[0, 2, 2 - sd, 2 + sd, 2], [1, 3, 3 - sd, 3 + sd, 2]])


def clan_rounds() -> pd.DataFrame:
    """NPM and the independent Potts model in three rounds of clan A at two depths."""
    tables = [
        precision_table(npm=[0.6 - 0.01 * k] * 2, potts=[potts] * 2).assign(
            clan="A", round=str(k), reduced_depth=depth, condition=depth, split="A", cutoff="L"
        )
        for depth, potts in (("10", 0.1), ("full", 0.9))
        for k in range(3)
    ]
    return pd.concat(tables, ignore_index=True).assign(variant="")


def clan_page(table: pd.DataFrame) -> Page:
    runs = read_runs([], [])
    return pfam_clan_page(Inputs(table, table[:0], runs, [], None, None, {}, SETTINGS, 0))


def test_a_clan_report_speaks_of_the_shallowest_alignments():
    page = clan_page(clan_rounds())
    assert page.headline == (
        "On 6 families of A reduced to depth 10, NPM is more precise than "
        "the independent Potts model."
    )
    (scatter,) = [section for section in page.sections if section.id == "scatter"]
    assert set(scatter.table["condition"]) == {"10"}


def test_a_loss_that_only_one_model_has_is_compared_with_none():
    table = clan_rounds()
    for models, compared in ((["npm", "potts"], True), (["npm"], False)):
        loss = table["model"].isin(models).map({True: 2.0, False: None})
        sections = clan_page(table.assign(generalisation_loss=loss)).sections
        (figure,) = [section for section in sections if section.id == "generalisation"]
        assert ("NPM's less that of the independent" in figure.caption) == compared


def test_the_rarer_reasons_are_counted_together(tmp_path):
    path = tmp_path / "l.tsv"
    lines = [f"failed\treason {k}\t{20 - k}" for k in range(14)]
    path.write_text("\n".join(["status\treason\tcount", *lines]) + "\n")
    *_, last = read_drops([path])
    assert (last["reason"], last["count"]) == ("2 other reasons", (20 - 12) + (20 - 13))


def test_what_the_precision_tables_leave_out_is_added_up(tmp_path):
    paths = []
    for number, count in enumerate((2, 3)):
        left = {"unscorable": {"long": count}, "unscored": {"nearest": 10 * count, "npm": 0}}
        table = pa.table({"id": ["a"]}).replace_schema_metadata({"left_out": json.dumps(left)})
        paths.append(tmp_path / f"{number}.parquet")
        pq.write_table(table, paths[-1])
    assert [(row["status"], row["reason"], row["count"]) for row in left_out(paths)] == [
        ("not scorable", "no resolved pair in the long range", 5),
        ("not scored", "no prediction by nearest", 50),
    ]


def test_trainings_are_told_apart_by_the_tables_in_the_same_place(tmp_path):
    paths = [tmp_path / name / "metrics.csv" for name in "ab"]
    for path in paths:
        path.parent.mkdir()
        path.write_text("step,loss\n0,1.5\n")
    stamps = [
        {"clan": "A", "round": "0"},
        {"clan": "A", "round": "0", "variant": "tied"},
        {"clan": "A", "round": "1"},
    ]
    found = read_runs(paths, stamps)
    assert found[["run", "clan", "round"]].to_numpy().tolist() == [
        ["A 0", "A", "0"],
        ["A 1", "A", "1"],
    ]
    assert read_runs(paths, [{}, {}, {}])["run"].tolist() == ["a", "b"]


@pytest.mark.parametrize("trainings", [1, 3])
def test_trainings_are_given_one_for_each_stamped_precision_table(tmp_path, trainings):
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss\n0,1.5\n")
    stamps = [{"clan": "A", "round": "0"}, {"clan": "A", "round": "1"}]
    with pytest.raises(DataError, match=f"{trainings} files of metrics for 2 precision tables"):
        read_runs([path] * trainings, stamps)
    assert read_runs([], stamps).empty


def test_shades_run_from_blue_to_vermillion():
    assert shades(2) == [SKY, VERMILLION]
    assert shades(3)[::2] == [SKY, VERMILLION]


def test_a_thinned_curve_keeps_its_first_and_last_point():
    assert summary.evenly(5, 9) == [0, 1, 2, 3, 4]
    assert summary.evenly(1000, 4) == [0, 333, 666, 999]
    assert summary.evenly(0, 4) == summary.evenly(3, 0) == []


def test_a_cumulative_curve_steps_at_each_value_and_ends_at_one():
    assert summary.cumulative([1, 1, 3, 10]) == [(1.0, 0.5), (3.0, 0.75), (10.0, 1.0)]


def test_two_rows_for_one_target_and_model_are_refused(tmp_path):
    table = precision_table(npm=[0.5])
    path = write_table(tmp_path / "p.parquet", pd.concat([table, table]))
    with pytest.raises(DataError, match="two precisions"):
        summary.read_precision(path)


@pytest.mark.parametrize("value", [1.5, float("nan")])
def test_a_precision_outside_0_and_1_is_refused(tmp_path, value):
    path = write_table(tmp_path / "p.parquet", precision_table(npm=[value]))
    with pytest.raises(DataError, match="outside"):
        summary.read_precision(path)


def test_chance_of_a_target_without_scores_is_left_out(tmp_path):
    path = write_table(tmp_path / "p.parquet", precision_table(npm=[0.5], chance=[0.1, 0.1]))
    assert sorted(summary.read_precision(path)["id"]) == ["t0", "t0"]


def test_drops_are_counted_by_step_status_and_reason_over_the_shards(tmp_path):
    for shard in ("0000", "0001"):
        path = tmp_path / "msas" / "train" / f"{shard}.ledger.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("query\tstatus\treason\na\tok\t\nb\tskipped\ttoo long\n")
    rows = read_drops(sorted(tmp_path.glob("msas/train/*")))
    assert [(row["status"], row["reason"], row["count"]) for row in rows] == [
        ("ok", "", 2),
        ("skipped", "too long", 2),
    ]
    assert {str(row["step"]).endswith("msas/train") for row in rows} == {True}


def test_a_ledger_without_a_reason_column_is_refused(tmp_path):
    path = tmp_path / "l.tsv"
    path.write_text("query\tstatus\n")
    with pytest.raises(DataError, match="reason"):
        read_drops([path])


def test_strongest_pairs_reproduce_the_precision_of_the_metric(rng):
    length = 40
    points = np.cumsum(rng.normal(size=(length, 3)) * 2, axis=0)
    points[10] = np.nan
    distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
    scores = rng.normal(size=(length, length)).round(1)
    scores = scores + scores.T
    near = set(protein_cards.contacts(distances, contact_distance=8.0))
    ranked = protein_cards.strongest_pairs(scores, distances)
    for name, separation in RANGES.items():
        for k in (1, 2, 5):
            top = ranked[name][: length // k]
            expected = top_precision(
                scores, distances, k=k, separation=separation, contact_distance=8.0
            )
            assert np.mean([pair in near for pair in top]) == pytest.approx(expected)


def test_a_contact_of_a_map_is_at_most_the_contact_distance_apart():
    distances = np.full((8, 8), 20.0)
    distances[0, 6], distances[0, 7], distances[1, 7], distances[0, 5] = 8.0, 8.001, 3.0, 1.0
    assert protein_cards.contacts(distances, contact_distance=8.0) == [0 * 8 + 6, 1 * 8 + 7]


def test_unresolved_stretches_count_from_one():
    distances = np.zeros((6, 6))
    for missing in (0, 3, 4):
        distances[missing] = distances[:, missing] = np.nan
    assert protein_cards.unresolved(distances) == [(1, 1), (4, 5)]


def test_cards_are_spread_from_the_worst_to_the_best():
    differences = pd.Series({"a": 0.3, "b": -0.2, "c": 0.0, "d": 0.1, "e": 0.2})
    assert protein_cards.choose(differences, 3) == ["b", "d", "a"]
    assert len(protein_cards.choose(differences, 10)) == 5


def test_cards_that_do_not_fit_are_thinned_from_the_worst_to_the_best():
    differences = pd.Series({name: k / 10 for k, name in enumerate("abcdefgh")})
    packed = dict.fromkeys("hgfedcba", "x" * 100)
    assert list(protein_cards.within(packed, differences, characters=800)) == list("hgfedcba")
    assert list(protein_cards.within(packed, differences, characters=399)) == ["a", "e", "h"]
    assert protein_cards.within(packed, differences, characters=99) == {}


def test_a_page_asks_for_nothing_outside_itself(uniref50):
    _, page = uniref50
    without_scripts = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", without_scripts)
    assert "default-src 'none'" in html.unescape(page)
    assert "unsafe-eval" not in page.split("<script", 1)[0]


def test_only_the_scripts_of_the_page_may_run(uniref50):
    _, page = uniref50
    head = html.unescape(page.split("</head>")[0])
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in head


def test_an_id_with_markup_is_text_everywhere(uniref50):
    _, page = uniref50
    assert HOSTILE not in page
    assert any(row[0] == HOSTILE for row in data_of(page, "data")["targets"]["rows"])
    assert "timeout &lt;b&gt;after&lt;/b&gt; 600 s" in page


def test_the_values_of_figure_5_are_those_of_the_table(uniref50):
    made, page = uniref50
    table = pq.read_table(made["precision"][0]).to_pandas()
    figure = next(f for f in data_of(page, "data")["figures"] if f["id"] == "figure-5")
    rows = [dict(zip(figure["columns"], row, strict=True)) for row in figure["rows"]]
    checked = []
    for row in rows:
        if row["n"] == 0 or row["bin"] != "(0, 15]":
            continue
        same = table[
            (table["model"] == row["model"])
            & (table["split"] == row["split"])
            & (table["range"] == row["range"])
            & (table["cutoff"] == "L/5")
            & (table["meff"] <= 15)
        ]
        assert row["n"] == len(same)
        assert row["mean"] == pytest.approx(same["precision"].mean(), abs=1e-5)
        if row["n"] < 5:
            assert row["low"] is row["high"] is None
        else:
            assert row["low"] <= row["mean"] <= row["high"]
        checked.append(row["n"] < 5)
    assert len(checked) == 2 * 2 * 5
    assert {True, False} == set(checked)


def test_the_headline_is_about_the_shallowest_alignments(uniref50):
    _, page = uniref50
    found = re.search(r'<p class="verdict">(.*?)</p>', page, re.S)
    assert found is not None
    assert set(re.findall(r"with Meff in (\(.*?\]|&gt; 500)", found[1])) == {"(0, 15]"}


def test_a_bin_without_targets_has_no_number(uniref50):
    _, page = uniref50
    figure = next(f for f in data_of(page, "data")["figures"] if f["id"] == "figure-5")
    rows = [dict(zip(figure["columns"], row, strict=True)) for row in figure["rows"]]
    empty = [row for row in rows if row["bin"] == "(50, 100]"]
    assert empty
    assert {(row["n"], row["mean"], row["low"]) for row in empty} == {(0, None, None)}


def test_a_card_holds_the_structure_and_the_pairs_of_each_model_and_cutoff(uniref50):
    made, page = uniref50
    packed = data_of(page, "cards")
    target = next(t for t in read_targets(*made["targets"]) if t.id == "UniRef50_001")
    card = protein_cards.unpack(packed[target.id])
    assert card["contacts"] == protein_cards.contacts(target.distances, contact_distance=8.0)
    assert card["unresolved"] == [[5, 7]]
    npm = next(s for s in read_scores(made["scores"][1]) if s.id == target.id)
    ranked = protein_cards.strongest_pairs(npm.matrix, target.distances)
    for name, pairs in ranked.items():
        for count in (target.length // 5, target.length // 2, target.length):
            assert set(card["maps"][""]["npm"][name][:count]) == set(pairs[:count])


@pytest.mark.parametrize(
    ("models", "headline"),
    [
        (("npm",), "No target has both"),
        (("potts", "nearest"), "No target has both"),
        ((), "No model has contact scores"),
    ],
)
def test_a_report_without_models_to_compare_says_so(tmp_path, models, headline):
    made = write_uniref50(tmp_path, targets=3, models=models)
    made = {flag: paths for flag, paths in made.items() if paths}
    output = tmp_path / "page.html"
    words = ["report", "--experiment", "uniref50", *flags(made), "--output", str(output)]
    assert main(words) == 0
    page = output.read_text()
    assert headline in page
    assert "longer than 2000" in page


def test_a_clan_report_of_one_round_gives_no_deviation(tmp_path):
    made = write_pfam(tmp_path, clans=1, rounds=1, families=2)
    output = tmp_path / "page.html"
    assert main(["report", "--experiment", "pfam_clan", *flags(made), "--output", str(output)]) == 0
    page = output.read_text()
    assert "has too few targets to be compared with the independent Potts model" in page
    figure = next(f for f in data_of(page, "data")["figures"] if f["id"] == "figure-3")
    sd = figure["columns"].index("sd")
    assert {row[sd] for row in figure["rows"]} == {None}


def test_clan_curves_have_the_mean_and_deviation_over_the_rounds(pfam_clan):
    made, page = pfam_clan
    table = pd.concat([pq.read_table(path).to_pandas() for path in made["precision"]])
    same = table[
        (table["model"] == "npm")
        & (table["clan"] == "NADP_Rossmann")
        & (table["reduced_depth"] == "10")
        & (table["range"] == "long")
        & (table["cutoff"] == "L")
    ]
    by_round = same.groupby("round")["precision"].mean()
    figure = next(f for f in data_of(page, "data")["figures"] if f["id"] == "figure-3")
    rows = [dict(zip(figure["columns"], row, strict=True)) for row in figure["rows"]]
    (row,) = [
        row
        for row in rows
        if (row["model"], row["clan"]) == ("npm", "NADP_Rossmann")
        and (row["reduced_depth"], row["range"]) == ("10", "long")
    ]
    assert row["mean"] == pytest.approx(by_round.mean(), abs=1e-5)
    assert row["sd"] == pytest.approx(by_round.std(ddof=1), abs=1e-5)


def test_the_generalisation_loss_is_averaged_over_rounds_where_there_are_test_rows(pfam_clan):
    made, page = pfam_clan
    table = pd.concat([pq.read_table(path).to_pandas() for path in made["precision"]])
    each = table.drop_duplicates(["model", "id", "reduced_depth"]).dropna(
        subset=["generalisation_loss"]
    )
    of_rounds = each.groupby(["clan", "reduced_depth", "model", "round"])["generalisation_loss"]
    means = of_rounds.mean().groupby(level=[0, 1, 2])
    figure = figures_of(page)["generalisation"]
    rows = [dict(zip(figure["columns"], row, strict=True)) for row in figure["rows"]]
    found = {(row["clan"], row["reduced_depth"], row["model"]): row for row in rows}
    assert found.keys() == means.groups.keys()
    for key, mean in means.mean().items():
        assert found[key]["mean"] == pytest.approx(mean, abs=1e-5)
        assert found[key]["sd"] == pytest.approx(means.std()[key], abs=1e-5)
    pair = each[each["reduced_depth"] == "10"].pivot_table(
        values="generalisation_loss", index=["clan", "round", "id"], columns="model"
    )
    gain = (pair["npm"] - pair["potts"]).groupby(["clan", "round"]).mean().groupby("clan").mean()
    told = page.split('id="generalisation"')[1].split("</section>")[0]
    for clan in ("NADP_Rossmann", "P-loop_NTPase"):
        assert f"{clan} {summary.signed(gain[clan])} (95 % t-interval over 2 rounds" in told


def test_scores_belong_to_the_depths_of_the_tables_made_from_them(pfam_clan):
    made, _ = pfam_clan
    found = score_conditions(made["precision"], made["scores"])
    assert {tuple(depths) for depths in found.values()} == {("10",), ("100",), ("full",)}
    with pytest.raises(DataError, match=r"strange\.parquet"):
        score_conditions(made["precision"], [Path("strange.parquet")])


def test_a_missing_precision_table_is_one_clear_error(tmp_path, capsys):
    words = ["--precision", "none.parquet", "--targets", "t", "--settings", "s.yaml"]
    (tmp_path / "s.yaml").write_text("precision: {contact_distance: 8.0}\n")
    words[-1] = str(tmp_path / "s.yaml")
    status = main(["report", "--experiment", "uniref50", *words, "--output", str(tmp_path / "o")])
    assert status == 2
    assert "none.parquet: no such file" in capsys.readouterr().err


def test_figures_are_written_one_by_one_and_say_what_they_draw(uniref50, tmp_path):
    made, _ = uniref50
    words = ["figures", "--experiment", "uniref50", *flags(made), "--formats", "svg"]
    assert main([*words, "--output", str(tmp_path)]) == 0
    names = {path.stem for path in tmp_path.glob("*.svg")}
    assert {"figure-5", "scatter", "figure-6-1", "figure-7", "figure-10", "controls"} <= names
    drawn = (tmp_path / "figure-5.svg").read_text()
    assert "no targets" in drawn
    assert "currentColor" not in drawn


def test_a_map_mirrors_each_contact_and_puts_each_model_in_its_triangle():
    card = {
        "length": 30,
        "unresolved": [(3, 4)],
        "contacts": [0 * 30 + 29],
        "maps": {"": {"npm": {"long": [29, 28]}, "potts": {"long": [58]}}},
    }
    made = protein_cards.map_datasets(
        card, condition="", range_name="long", cutoff="L", lower="npm", upper="potts"
    )
    assert made["truth"] == [{"x": 1, "y": 30}, {"x": 30, "y": 1}]
    assert made["unresolved"] == [{"start": 2.5, "end": 4.5}]
    placed = [(p["model"], p["x"], p["y"], p["hit"]) for p in made["predictions"]]
    assert placed == [
        ("Independent Potts", 29, 2, False),
        ("NPM", 1, 30, True),
        ("NPM", 1, 29, False),
    ]


def test_variants_have_a_figure_of_their_own_and_leave_the_others_alone(tmp_path):
    made = write_pfam(tmp_path, clans=1, families=3)
    table = pq.read_table(made["precision"][0]).to_pandas()
    tied = table[table["model"] == "npm"].assign(variant="tied", precision=0.25)
    extra = tmp_path / "tied.parquet"
    columns = {**read_metadata(made["precision"][0])["columns"], "variant": "tied"}
    table = pa.Table.from_pandas(tied, preserve_index=False)
    pq.write_table(table.replace_schema_metadata({"columns": json.dumps(columns)}), extra)
    made["precision"].append(extra)
    output = tmp_path / "page.html"
    assert main(["report", "--experiment", "pfam_clan", *flags(made), "--output", str(output)]) == 0
    figures = {figure["id"]: figure for figure in data_of(output.read_text(), "data")["figures"]}
    eight = figures["figure-8"]
    rows = [dict(zip(eight["columns"], row, strict=True)) for row in eight["rows"]]
    assert {row["mean"] for row in rows if row["variant"] == "tied"} == {0.25}
    names = [(row["reduced_depth"], row["range"], row["variant"]) for row in rows]
    assert sorted(set(names)) == sorted(names)
    assert {variant for *_, variant in names} == {"tied", "NPM of this report"}
    three = figures["figure-3"]
    rows = [dict(zip(three["columns"], row, strict=True)) for row in three["rows"]]
    npm = [row["n"] for row in rows if row["model"] == "npm"]
    assert set(npm) == {2 * 3}


def figures_of(page: str) -> dict[str, dict]:
    """The figures of a page by id."""
    return {figure["id"]: figure for figure in data_of(page, "data")["figures"]}


def test_figure_7_counts_the_shallow_alignments_of_each_coverage(uniref50):
    _, page = uniref50
    seven = figures_of(page)["figure-7"]
    at_ten = {
        name: max(share for one, depth, share in seven["rows"] if one == name and depth <= 10)
        for name in ("coverage 20 %", "coverage 80 %")
    }
    assert at_ten == {"coverage 20 %": 0.2, "coverage 80 %": 0.4}
    assert "20 %: 20% at most 10 deep" in html.unescape(page)


@pytest.mark.parametrize(
    ("experiment", "absent"),
    [
        ("uniref50", {"figure-7": "results/depths/train.parquet", "leakage": "train_msas"}),
        ("pfam_clan", {"figure-8": "pfam_clan.html", "figure-9": "config/paper.yaml"}),
    ],
)
def test_a_figure_without_its_table_says_why_and_which_command_makes_it(
    tmp_path, experiment, absent
):
    if experiment == "uniref50":
        made = write_uniref50(tmp_path, targets=3)
        del made["coverage-sweep"], made["leakage"]
    else:
        made = write_pfam(tmp_path, clans=1, rounds=1, families=2)
    output = tmp_path / "page.html"
    assert main(["report", "--experiment", experiment, *flags(made), "--output", str(output)]) == 0
    page = output.read_text()
    for name, command in absent.items():
        assert name not in figures_of(page)
        section = page.split(f'id="{name}"')[1].split("</section>")[0]
        assert "Not in this report." in section
        assert command in section


def test_shares_of_depths_are_counted_from_all_depths_and_not_from_a_thinned_curve(tmp_path):
    made = write_uniref50(tmp_path, targets=3)
    depths = [1] * 30 + [10] * 278 + list(range(11, 703))
    pq.write_table(pa.table({"depth": depths}), tmp_path / "many.parquet")
    made["families"] = [tmp_path / "many.parquet"]
    sweep = pa.table({"id": list(map(str, depths)), "coverage": [20] * 1000, "depth": depths})
    pq.write_table(sweep, tmp_path / "many_sweep.parquet")
    made["coverage-sweep"] = [tmp_path / "many_sweep.parquet"]
    output = tmp_path / "page.html"
    assert main(["report", "--experiment", "uniref50", *flags(made), "--output", str(output)]) == 0
    page = html.unescape(output.read_text())
    assert len(figures_of(page)["depths"]["rows"]) < 210
    assert "amilies trained on: 31% at most 10 deep" in page
    assert "t 20 %: 31% at most 10 deep, 40% at most 100" in page


def test_targets_without_a_test_sequence_of_their_own_are_told_apart(tmp_path):
    made = write_uniref50(tmp_path, targets=3)
    lines = [
        f"{status}\ttest targets\t{n}" for status, n in ((OCCURS, 1), (ABSENT, 1), (UNKNOWN, 6))
    ]
    made["leakage"][0].write_text("\n".join(["status\treason\tcount", *lines]) + "\n")
    output = tmp_path / "page.html"
    assert main(["report", "--experiment", "uniref50", *flags(made), "--output", str(output)]) == 0
    page = html.unescape(output.read_text())
    assert "est targets: 1 of 2 (row of a training alignment); 6 more without a test" in page


def test_leakage_of_imported_alignments_is_not_counted_and_no_command_would(tmp_path):
    made = write_uniref50(tmp_path, targets=3)
    del made["leakage"]
    made["settings"][0].write_text(yaml.safe_dump(SETTINGS | {"source": "local"}))
    output = tmp_path / "page.html"
    assert main(["report", "--experiment", "uniref50", *flags(made), "--output", str(output)]) == 0
    section = output.read_text().split('id="leakage"')[1].split("</section>")[0]
    assert "Not counted for imported alignments" in section
    assert "<code>" not in section


def test_the_paper_order_of_the_figures(uniref50, pfam_clan):
    for (_, page), expected in ((uniref50, "5 6 7 10"), (pfam_clan, "3 4 6 8 9")):
        links = re.search(r"<nav.*?</nav>", page, re.S)
        assert links is not None
        assert re.findall(r">Fig. (\d+)<", links[0]) == expected.split()


def test_every_figure_says_what_made_it_and_has_its_numbers_as_parquet(uniref50, pfam_clan):
    known = verbs()
    for _, page in (uniref50, pfam_clan):
        for figure in figures_of(page).values():
            table = pq.read_table(pa.BufferReader(base64.b64decode(figure["parquet"])))
            assert table.column_names == figure["columns"]
            assert table.num_rows == len(figure["rows"])
            assert table.schema.metadata[b"verb"].decode() in known
        assert page.count('class="made"') == len(figures_of(page))


def test_test_sequences_in_training_alignments_are_counted_and_shared(tmp_path):
    path = tmp_path / "audit.tsv"
    path.write_text(
        f"status\treason\tcount\ninside\ttargets\t1\noutside\ttargets\t3\n{UNKNOWN}\ttargets\t6\n"
    )
    assert read_leakage(path)[["set", "status", "count", "share"]].to_numpy().tolist() == [
        ["targets", "inside", 1, 0.25],
        ["targets", "outside", 3, 0.75],
        ["targets", UNKNOWN, 6, None],
    ]
    path.write_text("status\treason\tcount\ninside\ttargets\tmany\n")
    with pytest.raises(DataError, match=r"audit\.tsv, line 2: count is 'many'"):
        read_leakage(path)


def test_a_count_of_a_ledger_that_is_no_number_is_named_by_its_line(tmp_path):
    path = tmp_path / "a.ledger.tsv"
    path.write_text("status\treason\tcount\nfailed\ttimeout\t2\nfailed\ttimeout\tmany\n")
    with pytest.raises(DataError, match=r"ledger\.tsv, line 3: count is 'many'"):
        read_drops([path])


def test_a_coverage_sweep_with_a_depth_below_one_is_refused(tmp_path):
    path = tmp_path / "sweep.parquet"
    pq.write_table(pa.table({"id": ["a"], "coverage": [20], "depth": [0]}), path)
    with pytest.raises(DataError, match="depth 0 of a"):
        read_sweep(path)
    pq.write_table(pa.table({"id": ["a"]}), path)
    with pytest.raises(DataError, match=r"sweep\.parquet: columns .* are missing"):
        read_sweep(path)


def test_hours_are_summed_over_families_and_read_off_the_end_of_trainings(tmp_path):
    fits = [tmp_path / "contacts" / "uniref50" / shard / "potts.tsv" for shard in ("0000", "0001")]
    for path in fits:
        path.parent.mkdir(parents=True)
        path.write_text("id\tseconds_setup\tseconds_fit\na\t900\t900\nb\t0\t1800\n")
    metrics = tmp_path / "models" / "uniref50" / "metrics.csv"
    metrics.parent.mkdir(parents=True)
    metrics.write_text("step,seconds\n0,0\n1,3600\n2,7200\n")
    found = {str(row["step"]): (row["count"], row["hours"]) for row in read_hours([*fits, metrics])}
    assert found.pop("training uniref50") == (1, 2.0)
    assert list(found.values()) == [(4, 2.0)]


def test_alignments_are_given_one_for_each_precision_table(pfam_clan):
    made, _ = pfam_clan
    found = alignment_conditions(made["precision"], made["alignments"])
    assert set(found.values()) == {"10", "100", "full"}
    with pytest.raises(DataError, match="1 tables of alignments for 12 precision tables"):
        alignment_conditions(made["precision"], made["alignments"][:1])


def test_a_card_links_its_scores_its_structure_and_its_alignment(uniref50):
    _, page = uniref50
    links = protein_cards.unpack(data_of(page, "cards")["UniRef50_001"])["links"][""]
    assert set(links) == {"alignment", "structure", "potts", "npm", "nearest", "npm_shuffled"}
    assert links["structure"] == "t.parquet"


def test_300_cards_fit_in_five_megabytes(uniref50):
    """A protein of 300 residues by four models, 300 times, beside everything else.

    A clan's targets, with their six depths, are thinned to fit (`protein_cards.within`).
    """
    _, page = uniref50
    rng = np.random.default_rng(0)
    target = fold("long", "test", 300, rng)
    scores = [
        (("",), guess(target, model, 1.0, 12, 9.0, rng)) for model in ("potts", "npm", "a", "b")
    ]
    maps = protein_cards.rank_scores(scores, {"long": target})["long"]
    links = {"": dict.fromkeys(maps[""], "results/contacts/uniref50/0000/potts.parquet")}
    card = protein_cards.pack(protein_cards.card(target, maps, {}, links, contact_distance=8.0))
    rest = len(page) - sum(map(len, data_of(page, "cards").values()))
    assert rest + 300 * len(card) < 5_000_000
