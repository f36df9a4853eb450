"""Where the files of a run lie, each told as the rules' outputs spell it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from places import ClanEvaluation, Places, Uniref50Evaluation, parse
from sources import Sources

ROOT = Path(__file__).parent.parent


def places(**changes: Any) -> Places:
    """Of config.yaml with some sections changed in part."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for key, value in changes.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    return Places(config)


@pytest.mark.parametrize(
    ("text", "evaluation"),
    [
        ("uniref50/0003", Uniref50Evaluation("0003")),
        ("pfam_clan/NADP_Rossmann/2/30", ClanEvaluation("NADP_Rossmann", "2", "30")),
        ("pfam_clan/P-loop_NTPase/0/full", ClanEvaluation("P-loop_NTPase", "0", "full")),
        ("pfam_clan/HTH/1/0", ClanEvaluation("HTH", "1", "0")),
    ],
)
def test_an_evaluation_is_the_text_of_its_wildcard(text, evaluation):
    assert parse(text) == evaluation
    assert str(evaluation) == text


def test_a_round_without_a_depth_is_of_whole_alignments():
    assert parse("pfam_clan/HTH/1") == ClanEvaluation("HTH", "1", "full")


def test_files_of_a_shard():
    shard = parse("uniref50/0003")
    assert shard.targets == "results/structures/targets/0003.parquet"
    assert shard.families == "results/families/uniref50/targets/0003.parquet"
    assert shard.neighbours == "results/neighbours/uniref50.parquet"
    assert shard.nearest == "results/contacts/uniref50/0003/nearest.parquet"
    assert shard.model() == "results/models/uniref50/model.safetensors"
    assert shard.metrics == "results/models/uniref50/metrics.csv"
    assert shard.columns == shard.sisters("npm") == shard.without([0]) == []
    assert parse("uniref50/0000", imported=True).targets == (
        "results/imported/uniref50/targets.parquet"
    )


def test_files_of_a_reduced_bucket():
    bucket = parse("pfam_clan/HTH/1/30")
    assert bucket.targets == "results/reductions/HTH/1/30/targets.parquet"
    assert bucket.families == "results/reductions/HTH/1/30/target_msas.parquet"
    assert bucket.reduced == "results/reductions/HTH/1/30/reduced.parquet"
    assert bucket.watched == ["results/reductions/HTH/1/30/target_msas.parquet"]
    assert bucket.nearest == "results/contacts/pfam_clan/HTH/1/nearest.parquet"
    assert bucket.model() == "results/models/pfam_clan/HTH/1/30/npm/model.safetensors"
    assert bucket.model("tied") == "results/models/pfam_clan/HTH/1/30/tied/model.safetensors"
    assert bucket.columns == ["clan=HTH", "round=1", "reduced_depth=30"]
    assert bucket.sisters("npm") == [
        "results/neighbours/pfam_clan/HTH/1.parquet",
        "results/families/pfam_clan/HTH.parquet",
    ]
    assert bucket.sisters("tied") == []
    assert bucket.without([0, 2]) == []
    assert bucket.without([0, 1]) == ["results/contacts/pfam_clan/HTH/1/0/npm.parquet"]


def test_a_bucket_that_is_left_out_is_whole():
    control = parse("pfam_clan/HTH/1/0")
    assert control.leaves_bucket_out
    assert control.targets == "results/reductions/HTH/1/full/targets.parquet"
    assert control.reduced == "results/reductions/HTH/1/full/reduced.parquet"
    assert control.model() == "results/models/pfam_clan/HTH/1/0/npm/model.safetensors"
    assert control.watched == control.sisters("npm") == []


@pytest.mark.parametrize(("number", "following"), [("0", "1"), ("3", "4"), ("4", "0")])
def test_settings_are_chosen_on_the_next_bucket_of_five(number, following):
    chosen_on = ClanEvaluation("HTH", number, "10").validation(buckets=5)
    assert chosen_on == ClanEvaluation("HTH", following, "full")
    assert ClanEvaluation("HTH", number).validation(5, depth=100).depth == "100"


def test_every_evaluation_and_every_other_head():
    some = places(
        queries={"shards": {"train": 2, "test": 1, "targets": 2}},
        pfam_clan={
            "clans": ["A", "B"],
            "rounds": 2,
            "depths": [10, "full"],
            "ablations": {"tied": {}, "conv": {}},
            "ablation_depths": [10],
        },
    )
    assert list(map(str, some.evaluations("uniref50"))) == ["uniref50/0000", "uniref50/0001"]
    assert list(map(str, some.evaluations("pfam_clan")))[:5] == [
        "pfam_clan/A/0/10",
        "pfam_clan/A/0/full",
        "pfam_clan/A/1/10",
        "pfam_clan/A/1/full",
        "pfam_clan/B/0/10",
    ]
    assert some.ablations()[:3] == [
        "pfam_clan/A/0/10/tied",
        "pfam_clan/A/0/10/conv",
        "pfam_clan/A/1/10/tied",
    ]
    assert len(some.ablations()) == 8


@pytest.mark.parametrize("source", ["local", "packages"])
def test_imported_alignments_are_one_shard_and_lie_elsewhere(source):
    own = places(source=source, local={"uniref50": "t.tsv", "sequences": "s.fasta"})
    assert own.shards("train") == ["0000"]
    assert own.msas("test", "0000") == [
        "results/imported/uniref50/test.ffdata",
        "results/imported/uniref50/test.ffindex",
    ]
    assert own.targets("uniref50") == ["results/imported/uniref50/targets.parquet"]
    assert own.clan_file("seed.ffindex") == "results/imported/{clan}/seed.ffindex"
    assert own.pretraining_sequences() == "s.fasta"
    assert own.test_queries() == []
    assert own.experiments() == ["uniref50"]
    assert own.ledgers("uniref50") == [
        "results/imported/uniref50/audit.tsv",
        *(f"results/families/uniref50/{d}/0000.ledger.tsv" for d in ("train", "test", "targets")),
    ]
    assert "leakage" not in own.report_inputs("uniref50")


def test_searched_alignments_lie_by_shard():
    demo = places()
    assert demo.training_msas() == {
        "data": ["results/msas/train/0000.ffdata", "results/msas/train/0001.ffdata"],
        "index": ["results/msas/train/0000.ffindex", "results/msas/train/0001.ffindex"],
    }
    assert demo.families("test") == ["results/families/uniref50/test/0000.parquet"]
    assert demo.nearest_families("uniref50/0000")[:2] == [
        "results/lists/train_families.args",
        "results/families/uniref50/train/0000.parquet",
    ]
    assert demo.nearest_families("pfam_clan/A/0") == ["results/families/pfam_clan/A.parquet"]
    assert demo.clan_file("seed.ffindex") == "results/clans/{clan}/seed.ffindex"
    assert demo.ledgers("pfam_clan") == [
        "results/clans/NADP_Rossmann/choose_clan_targets.audit.tsv",
        "results/families/pfam_clan/NADP_Rossmann.ledger.tsv",
    ]


def test_families_of_a_clan_are_searched_for_among_packaged_sequences_alone():
    assert places().searched_families("A") == []
    found = places(source="packages", packages={"shards": 2})
    assert found.searched_families("A") == [
        *("results/packages/A/0000.ffdata", "results/packages/A/0000.ffindex"),
        *("results/packages/A/0001.ffdata", "results/packages/A/0001.ffindex"),
    ]


def test_a_database_is_built_unpacked_or_of_the_other_engine():
    files = ("a3m.ffdata", "a3m.ffindex", "cs219.ffdata", "cs219.ffindex")
    built = [f"results/database/built/database_{file}" for file in files]
    assert places().search_database() == built
    unpacked = [path.replace("built", "unpacked") for path in built]
    assert places(database={"build": False}).search_database() == unpacked
    assert places(search={"engine": "mmseqs2"}).search_database() == ["results/database/mmseqs2"]


def test_a_given_trunk_takes_the_place_of_the_pretrained_one():
    demo = places()
    weights = "results/models/pretrained/common/model.safetensors"
    assert demo.initial_trunk("uniref50") == demo.initial_trunk("pfam_clan") == weights
    timed = demo.report_inputs("uniref50")["timed"]
    assert timed == [
        "results/contacts/uniref50/0000/potts.report.tsv",
        "results/contacts/uniref50/0000/prior.report.tsv",
        "results/models/pretrained/common/metrics.csv",
    ]
    given = places(npm={"trunks": {"common": {"checkpoint": "trunks/own"}}})
    assert given.initial_trunk("uniref50") == "trunks/own/model.safetensors"
    assert given.pretraining_record("uniref50") == {}
    assert given.report_inputs("uniref50")["timed"] == timed[:2]


def test_each_experiment_has_the_trunk_that_it_names():
    trunks = {name: {"checkpoint": None} for name in ("large", "small", "unused")}
    two = places(
        npm={"trunks": trunks, "uniref50": {"trunk": "large"}, "pfam_clan": {"trunk": "small"}},
    )
    assert list(two.pretrained_trunks()) == ["large", "small"]
    assert two.initial_trunk("uniref50") == "results/models/pretrained/large/model.safetensors"
    assert two.initial_trunk("pfam_clan") == "results/models/pretrained/small/model.safetensors"
    assert two.report_inputs("pfam_clan")["timed"][-1] == (
        "results/models/pretrained/small/metrics.csv"
    )
    # Without clans of one's own nothing is trained on them.
    own = two.config | {"source": "local", "local": {"uniref50": "t.tsv", "pfam_clan": None}}
    assert list(Places(own).pretrained_trunks()) == ["large"]


def test_what_a_report_of_clans_is_made_from():
    inputs = places(pfam_clan={"rounds": 1}).report_inputs("pfam_clan")
    folder = "pfam_clan/NADP_Rossmann/0"
    assert inputs["precision"] == [
        f"results/precision/{folder}/10.parquet",
        f"results/precision/{folder}/100.parquet",
    ]
    assert inputs["scores"] == [
        f"results/contacts/{folder}/{name}.parquet"
        for name in ("10/potts", "10/prior", "10/npm", "100/potts", "100/prior", "100/npm")
    ] + [f"results/contacts/{folder}/nearest.parquet"]
    assert inputs["metrics"] == [
        f"results/models/{folder}/10/npm/metrics.csv",
        f"results/models/{folder}/100/npm/metrics.csv",
    ]
    assert inputs["targets"] == ["results/clans/NADP_Rossmann/targets.parquet"]
    assert "coverage_sweep" not in inputs


def test_uniref50_is_as_published_or_taken_out_of_its_archive():
    assert places().uniref50_fasta() == "results/sources/uniref50"
    packed = places(sources={"uniref50_member": "uniref50.fasta.gz"})
    assert packed.uniref50_fasta() == "results/unpacked/uniref50.fasta.gz"


def test_the_selection_of_structures_reads_the_indexes_that_are_named():
    assert places(sources={"pdb_obsolete": None, "pdb_search": None}).optional_indexes() == {}
    both = places(sources={"pdb_obsolete": ["obsolete.dat"], "pdb_search": "https://x/query"})
    assert both.optional_indexes() == {
        "obsolete": "results/sources/pdb_obsolete",
        "hits": "results/sources/pdb_hits",
    }


def test_settings_are_chosen_for_each_round_where_there_is_a_grid():
    assert places(pfam_clan={"selection": {"grid": {}}}).chosen_settings("HTH", "3") == []
    some = places(pfam_clan={"selection": {"grid": {"steps": [1, 2]}}})
    assert some.chosen_settings("HTH", "3") == ["results/selection/HTH/3.json"]


def test_npm_is_trained_on_training_queries_and_clans_and_its_trunk_on_sequences():
    demo = places(pfam_clan={"clans": ["A", "B"]})
    assert demo.training_families("uniref50")[0] == "results/families/uniref50/train/0000.parquet"
    assert demo.training_families("pfam_clan") == [
        "results/families/pfam_clan/A.parquet",
        "results/families/pfam_clan/B.parquet",
    ]
    assert demo.pretraining_sequences() == "results/queries/train.fasta"
    assert demo.test_queries() == ["results/queries/test"]
    own = places(npm={"pretraining_sequences": ["own"]})
    assert own.pretraining_sequences() == ["own"]
    assert own.test_queries() == []


def test_structures_are_a_folder_where_one_is_here(tmp_path):
    def found(template):
        config = {"source": "paper", "sources": {"structures": template}}
        return Sources(config).structure_files()

    (tmp_path / "mmCIF").mkdir()
    assert found(f"{tmp_path}/mmCIF/{{middle}}/{{id}}.cif.gz") == [tmp_path / "mmCIF"]
    assert found(f"{tmp_path}/none/{{id}}.cif.gz") == []
    assert found("https://x.org/mmCIF/{middle}/{id}.cif.gz") == []
