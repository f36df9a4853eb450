import numpy as np
import pytest

from npm_core import coverage_sweep, family_building, ffindex
from npm_core.cli import main
from npm_core.errors import ToolError
from npm_core.family_building import build_families
from npm_core.files import read_tsv
from npm_core.hhsuite import FilterSettings
from npm_core.programs import Finished
from npm_core.tables import read_families, read_metadata

PLAIN = ">q\nMKVLAMKVLA\n>twin\nMKVLAMKVLA\n>far\n---LAWRILAgg\n"


@pytest.fixture
def build(tmp_path):
    def run(texts, **knobs):
        ffindex.write_entries(tmp_path / "in", [(key, text.encode()) for key, text in texts])
        rows = build_families(
            tmp_path / "in",
            tmp_path / "out.parquet",
            tmp_path / "out.tsv",
            **{
                "settings": FilterSettings(),
                "identity_threshold": 0.8,
                "workers": 2,
                "max_failed_share": 0.0,
            }
            | knobs,
        )
        return rows, list(read_families(tmp_path / "out.parquet"))

    return run


def test_a_family_is_filtered_encoded_and_weighted(build, tmp_path):
    rows, [family] = build([("x;rm", PLAIN)])
    assert (family.id, family.query, family.depth) == ("x;rm", "MKVLAMKVLA", 2)
    assert family.meff == pytest.approx(2.0)
    assert (rows[0].status, rows[0].found, rows[0].depth, rows[0].length) == ("ok", 3, 2, 10)
    assert next(read_tsv(tmp_path / "out.tsv"))["found"] == "3"


def test_rows_that_are_alike_share_their_weight(build):
    _, [family] = build([("a", PLAIN)], settings=FilterSettings(identity=100))
    np.testing.assert_allclose(family.weights, [0.5, 0.5, 1.0])
    _, [family] = build(
        [("a", PLAIN)], settings=FilterSettings(identity=100), identity_threshold=0.3
    )
    assert family.meff < 2.5


def test_an_unknown_residue_of_the_query_is_a_gap_whose_column_stays_and_is_counted(build):
    rows, [family] = build([("a", ">q\nMXVU\n>r\nAKWZ\n")])
    assert family.query == "M-VC"
    assert family.length == 4
    # X and U of the query, Z of the other row.
    assert rows[0].nonstandard == 3


def test_a_query_with_gaps_keeps_them_as_pfam_families_need(build):
    _, [family] = build([("PF1", ">first\nM-VLA\n>second\nAKWLaC\n")])
    assert family.query == "M-VLA"
    assert family.depth == 2


def test_an_alignment_of_the_query_alone_is_a_family(build):
    rows, [family] = build([("a", ">q\nMKV\n")])
    assert (rows[0].status, family.depth, family.meff) == ("empty", 1, 1.0)


def test_only_what_had_no_other_rows_is_empty_not_what_the_filter_left_alone(build):
    rows, [family] = build([("a", ">q\nMKVLAMKVLA\n>twin\nMKVLAMKVLA\n")])
    assert (rows[0].status, rows[0].found, family.depth) == ("ok", 2, 1)


def test_a_filter_that_drops_the_query_is_noticed(build, monkeypatch):
    kept = Finished("", b">far\n---LAWRILA\n", 0.0)
    monkeypatch.setattr(family_building, "hhfilter", lambda *_: kept)
    rows, families = build([("a", PLAIN)], max_failed_share=1.0)
    assert (rows[0].status, families) == ("failed", [])
    assert "did not keep the query" in rows[0].reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "hhfilter"),
        (">q\nMKV\n>r\nMK\n", "hhfilter"),
        (">q\n\n>r\nMK\n", ""),
    ],
)
def test_a_family_that_fails_is_a_row_of_the_ledger(build, text, reason):
    rows, families = build([("bad", text), ("good", PLAIN)], max_failed_share=0.5)
    assert [row.status for row in rows] == ["failed", "ok"]
    assert rows[0].reason
    assert reason in rows[0].reason
    assert [family.id for family in families] == ["good"]


def test_too_many_failed_families_leave_no_table(build, tmp_path):
    with pytest.raises(ToolError, match="1 of 2 failed"):
        build([("bad", ""), ("good", PLAIN)])
    assert not (tmp_path / "out.parquet").exists()


def test_the_table_keeps_the_order_and_does_not_depend_on_the_workers(build, tmp_path):
    texts = [(f"f{number}", PLAIN * 1) for number in range(9, 0, -1)]
    tables = []
    for workers in (1, 3):
        _, families = build(texts, workers=workers)
        tables.append((tmp_path / "out.parquet").read_bytes())
        assert [family.id for family in families] == [key for key, _ in texts]
    assert tables[0] == tables[1]


def test_no_alignments_make_an_empty_table(build):
    assert build([]) == ([], [])


def test_the_verb_passes_its_settings_on(tmp_path):
    ffindex.write_entries(tmp_path / "in", [("a", PLAIN.encode())])
    arguments = ["--msas", str(tmp_path / "in"), "--output", str(tmp_path / "out.parquet")]
    arguments += ["--ledger", str(tmp_path / "out.tsv"), "--filter-coverage", "80"]
    assert main(["build-families", *arguments, "--identity-threshold", "0.7"]) == 0
    [family] = read_families(tmp_path / "out.parquet")
    assert family.depth == 1
    facts = read_metadata(tmp_path / "out.parquet")
    assert facts["identity_threshold"] == 0.7
    assert facts["filter"] == {"identity": 90, "coverage": 80, "diff": 0}
    assert facts["hhfilter"].startswith("HHfilter 3")


def test_the_verb_filters_as_it_is_told(tmp_path, monkeypatch):
    told = []
    note = lambda *_, **knobs: told.append(knobs["settings"])  # noqa: E731
    monkeypatch.setattr(family_building, "build_families", note)
    monkeypatch.setattr(coverage_sweep, "sweep", note)
    words = ["--filter-identity=80", "--filter-diff=12", f"--output={tmp_path / 'o'}"]
    more = ["--msas=x", f"--ledger={tmp_path / 'l'}", "--filter-coverage=30"]
    assert main(["build-families", *words, *more]) == 0
    assert main(["coverage-sweep", *words, "--msas", "x.ffdata"]) == 0
    assert told == [FilterSettings(80, 30, 12), FilterSettings(80, 0, 12)]
