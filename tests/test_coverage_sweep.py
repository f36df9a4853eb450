import pytest

from npm_core import ffindex
from npm_core.cli import main
from npm_core.coverage_sweep import sample, sweep
from npm_core.errors import DataError, SettingsError
from npm_core.hhsuite import FilterSettings
from npm_core.tables import DEPTHS, read_table

QUERY = "MKVLAWTRSCDEFGHIKLMN"
# Rows that cover 100, 50 and 25 per cent of the query, each unlike the others.
ROWS = [QUERY, "WWYYPPQQNNDDEEHHIIKK", "ACDEFGHIKL----------", "---------------VVYYT"]


@pytest.fixture
def msas(tmp_path):
    """Two ffindexes: three alignments as above, and four of depth one."""
    whole = "".join(f">r{n} a->b\n{row}\n" for n, row in enumerate(ROWS)).encode()
    alone = f">q\n{QUERY}\n".encode()
    ffindex.write_entries(tmp_path / "0000", [(f"deep{n}", whole) for n in range(3)])
    ffindex.write_entries(tmp_path / "0001", [(f"alone{n}", alone) for n in range(4)])
    return [tmp_path / "0000", tmp_path / "0001"]


def depths(path):
    return {(row["id"], row["coverage"]): row["depth"] for row in read_table(path, DEPTHS.names)}


def test_depth_falls_with_the_coverage_as_counted_by_hand(msas, tmp_path):
    arguments = ["--msas", *(f"{prefix}.ffdata" for prefix in msas), "--alignments", "7"]
    arguments += ["--coverages", "80", "20", "40", "--output", str(tmp_path / "t.parquet")]
    assert main(["coverage-sweep", *arguments]) == 0
    found = depths(tmp_path / "t.parquet")
    assert len(found) == 7 * 3
    assert [found["deep1", coverage] for coverage in (20, 40, 80)] == [4, 3, 2]
    assert {found[f"alone{n}", coverage] for n in range(4) for coverage in (20, 40, 80)} == {1}


def test_the_sample_depends_on_keys_and_seed_alone(msas):
    drawn = [key for _, key in sample(msas, 3, seed=1)]
    assert [key for _, key in sample(msas[::-1], 3, seed=1)] == drawn
    assert [key for _, key in sample(msas, 5, seed=1)][:3] == drawn
    assert len({tuple(key for _, key in sample(msas, 3, seed=seed)) for seed in range(9)}) > 1
    assert len(sample(msas, 100, seed=1)) == 7


def test_the_table_has_the_same_bytes_with_more_workers(msas, tmp_path):
    for workers in (1, 3):
        sweep(
            msas,
            tmp_path / f"{workers}",
            coverages=[20, 80],
            alignments=4,
            settings=FilterSettings(),
            seed=2,
            workers=workers,
        )
    assert (tmp_path / "1").read_bytes() == (tmp_path / "3").read_bytes()


def test_nothing_to_sweep_is_an_error(tmp_path):
    ffindex.write_entries(tmp_path / "0000", [])
    with pytest.raises(DataError, match="no alignment in 1 ffindexes"):
        sample([tmp_path / "0000"], 3, seed=1)


@pytest.mark.parametrize("knobs", [{"coverages": []}, {"coverages": [120]}, {"alignments": 0}])
def test_what_is_no_sweep_is_refused(msas, tmp_path, knobs):
    settings = {"coverages": [20], "alignments": 1} | knobs
    with pytest.raises(SettingsError):
        sweep(msas, tmp_path / "t", settings=FilterSettings(), seed=1, workers=1, **settings)
