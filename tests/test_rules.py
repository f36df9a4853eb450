"""The settings check and the functions of rules/common.smk, without running Snakemake."""

import argparse
import dataclasses
import importlib
import re
import tomllib
from copy import deepcopy
from functools import partial, reduce
from pathlib import Path
from typing import Any

import pytest
import yaml
from config_checks import (
    SCHEMA,
    another_source,
    contradictions,
    misfits,
    record_source,
    whole_numbers,
)
from places import Places
from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config
from sources import Sources

from npm_core.assignment import AssignmentSettings
from npm_core.universe.families import UniverseSettings

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def quick_yaml(monkeypatch):
    """YAML is read by its reader in C, where there is one: the schema is read in every test."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    monkeypatch.setattr(yaml, "safe_load", partial(yaml.load, Loader=loader))


def settings(*changes: str | dict) -> dict:
    """config.yaml, with files of config/ or changes laid over it."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for change in changes:
        over = (
            yaml.safe_load((ROOT / "config" / change).read_text())
            if isinstance(change, str)
            else deepcopy(change)
        )
        update_config(config, over)
    return config


@pytest.fixture
def common(monkeypatch):
    """Load rules/common.smk with some settings; the folder stays the one of the test."""
    code = (ROOT / "rules" / "common.smk").read_text()
    # All but Snakemake's own statement is Python.
    code = re.sub(r"^wildcard_constraints:\n(?:    .*\n|\n)+", "", code, flags=re.MULTILINE)

    def load(*changes: str | dict) -> dict[str, Any]:
        names: dict[str, Any] = {"config": settings(*changes)}
        here = Path.cwd()
        monkeypatch.chdir(ROOT / "rules")
        try:
            exec(code, names)
        finally:
            monkeypatch.chdir(here)
        return names

    return load


class wildcards(dict):
    """As much of Snakemake's wildcards as the input functions use."""

    __getattr__ = dict.__getitem__


LOCAL = {"source": "local", "local": {"uniref50": "t.tsv", "sequences": "s.fasta"}}
TRUNK = {"kind": "rotary", "layers": 1, "width": 8, "attention_heads": 1}
GIVEN = {"npm": {"trunks": {"common": {"checkpoint": "trunks/own"}}}}


def transformer(**changes: int) -> dict:
    """Another size of the demo's trunk."""
    return {"npm": {"trunks": {"common": {"transformer": changes}}}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pfam_clan": {"rounds": 6}}, "rounds is 6 and pfam_clan.buckets 5"),
        ({"pfam_clan": {"without_rounds": [0, 3]}}, r"\[0, 3\], but the rounds are 0 to 2"),
        ({"pfam_clan": {"clans": []}}, "pfam_clan.clans is empty"),
        (
            {
                **LOCAL,
                "local": {"pfam_clan": "t.tsv", "sequences": "s"},
                "pfam_clan": {"clans": []},
            },
            "pfam_clan.clans is empty",
        ),
        ({"source": "local", "local": {"sequences": "s"}}, "name a table in local.uniref50"),
        ({"source": "packages", "local": {"uniref50": "t"}}, "in local.sequences, or a"),
        (LOCAL | {"npm": {"pretraining_sequences": ["s"]}}, "local.sequences takes its place"),
        (
            {"npm": GIVEN["npm"] | {"pretraining_sequences": ["s"]}},
            "pretraining_sequences would not be read",
        ),
        (
            {"npm": {"trunks": {"esm1": {"checkpoint": "t"}}, "pfam_clan": {"trunk": "ems1"}}},
            r"npm\.pfam_clan\.trunk is ems1, but npm\.trunks has common, esm1: name one of",
        ),
        ({"pfam_clan": {"ablations": {"tied": {}}}}, "has 1 heads and .* 0 depths: name both"),
        ({"pfam_clan": {"ablation_depths": [10]}}, "has 0 heads and .* 1 depths: name both"),
        (
            {"pfam_clan": {"ablations": {"tied": {}}, "ablation_depths": [10, 30, "full"]}},
            "names 30, full, which pfam_clan.depths does not",
        ),
        ({"sources": {"uniref50_member": "x.gz"}}, "name it in sources.uniref50_archive"),
        ({"database": {"build": False}}, "published database in sources.uniclust30"),
        ({"sources": {"uniprot": None}}, "the sequences to build it from in sources.uniprot"),
        (transformer(width=95), r"common\.transformer has width 95 .* a multiple of 8"),
        (transformer(width=100, attention_heads=4), "a multiple of 8"),
        (
            {"structures": {"select": {"deposited_before": "2020-13-45"}}},
            "deposited_before is 2020-13-45",
        ),
        ({"universe": {"clans": 0, "lone_families": 0}}, "universe has no family"),
        ({"split": {"test_share": 0}}, "leaves a split without sequences"),
        ({"split": {"test_share": 1.0}}, "leaves a split without sequences"),
    ],
)
def test_settings_that_contradict_one_another_are_told_of(changes, message):
    (told,) = contradictions(settings(changes))
    assert re.search(message, told)


def test_results_of_another_source_are_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here, other = settings(), settings({"source": "local"})
    assert list(another_source(here)) == []
    record_source(here)
    assert list(another_source(here)) == []
    (told,) = another_source(other)
    assert "made from source demo and would be replaced" in told
    assert "--directory" in told


def test_settings_that_contradict_one_another_stop_the_run(common):
    with pytest.raises(WorkflowError, match=r"pfam_clan\.buckets 5"):
        common({"pfam_clan": {"rounds": 6}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"queries": {"shards": {"train": None}}},
            r"queries\.shards\.train: None is not of type 'integer'",
        ),
        (
            {"universe": {"famlies_per_clan": 3}},
            r"universe: .*\('famlies_per_clan' was unexpected\)",
        ),
        ({"universe": {"clans": 7}}, r"universe\.clans: 7 is greater than the maximum of 6"),
        (
            {"universe": {"families_without_structure": 0}},
            r"universe\.families_without_structure: 0 is less than the minimum of 1",
        ),
        (
            {"queries": {"shards": {"train": 10001}}},
            r"queries\.shards\.train: 10001 is greater than the maximum of 10000",
        ),
        (
            {"packages": {"shards": 10001}},
            r"packages\.shards: 10001 is greater than the maximum of 10000",
        ),
        (
            {"search": {"max_memory_gib": 0.5}},
            r"search\.max_memory_gib: 0\.5 is less than the minimum of 1",
        ),
        (
            {"search": {"max_length": 20001}},
            r"search\.max_length: 20001 is greater than the maximum of 20000",
        ),
        *(
            (changes, rf"{place}: '-x' does not match '.*'")
            for changes, place in [
                ({"pfam_clan": {"clans": ["-x"]}}, r"pfam_clan\.clans\.0"),
                ({"packages": {"member": "-x"}}, r"packages\.member"),
                ({"packages": {"databases": ["-x"]}}, r"packages\.databases\.0"),
                ({"sources": {"uniref50_member": "-x"}}, r"sources\.uniref50_member"),
                ({"local": {"pfam_clan": "-x"}}, r"local\.pfam_clan"),
                (
                    {"npm": {"trunks": {"common": {"checkpoint": "-x"}}}},
                    r"npm\.trunks\.common\.checkpoint",
                ),
                (
                    {"structures": {"select": {"methods": ["-x"]}}},
                    r"structures\.select\.methods\.0",
                ),
            ]
        ),
        *(
            ({"npm": {"trunks": {name: {"checkpoint": "t"}}}}, rf"npm\.trunks: {told}")
            for name, told in [
                ("-x", "'-x' does not match '.*'"),
                ("../x", "'../x' does not match '.*'"),
                (12, "12 is not of type 'string'"),
            ]
        ),
        (
            {"npm": {"trunks": {"esm1": {"checkpoint": None, "transformer": TRUNK}}}},
            r"npm\.trunks\.esm1: 'pretraining' is a required property",
        ),
        (
            {"npm": {"trunk_checkpoint": "t", "trunk": {"layers": 12}}},
            r"npm: .*\('trunk', 'trunk_checkpoint' were unexpected\)",
        ),
        (
            {"families": {"identity_threshold": 0}},
            r"families\.identity_threshold: 0 is less than or equal to the minimum of 0",
        ),
        # The table of one's own data has a column `split`.
        (
            {"source": "local", "split": {"held_out": "ids"}},
            r"split\.held_out: 'ids' is not of type 'null'",
        ),
    ],
)
def test_settings_that_nothing_can_be_done_with_are_refused(changes, message):
    (told,) = misfits(settings(changes))
    assert re.fullmatch(message, told)


def test_settings_that_do_not_fit_the_schema_stop_the_run_by_their_place(common):
    with pytest.raises(WorkflowError, match=r"universe\.clans: 7 is greater") as caught:
        common({"universe": {"clans": 7}, "search": {"engine": "blast"}})
    assert re.search(r"search\.engine: 'blast' is not one of", str(caught.value))


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["demo_full.yaml"],
        ["local.yaml"],
        ["paper.yaml"],
        ["real.yaml"],
        ["real_uniref50.yaml"],
        ["small_model.yaml", "small_model_gpu.yaml"],
        ["universe.yaml"],
        [LOCAL, GIVEN, {"local": {"sequences": None}}],
        [LOCAL, {"pfam_clan": {"clans": []}, "database": {"build": False}}],
        [LOCAL, {"split": {"test_share": 0}}],
        [transformer(width=95), GIVEN],
        # A trunk that no experiment names.
        [transformer(width=95), "paper.yaml"],
        [
            "paper.yaml",
            {"npm": {"trunks": {"x": {"checkpoint": "t"}}, "pfam_clan": {"trunk": "x"}}},
        ],
        [{"queries": {"shards": {"train": 10000}}, "search": {"max_length": 20000}}],
    ],
    ids=str,
)
def test_settings_that_do_not_are_taken(common, changes):
    assert common(*changes)["conflicts"] == []


def test_every_setting_of_the_universe_is_known_to_the_schema():
    schema = yaml.safe_load(SCHEMA.read_text())
    known = schema["properties"]["universe"]["properties"]
    assert set(known) == {field.name for field in dataclasses.fields(UniverseSettings)}


MAKE_TARGETS = ("build_targets", "choose_clan_targets", "import_families", "import_clan")


def test_settings_that_only_a_verb_had_are_its_defaults():
    config = settings()
    for verb, section in [
        ("build_database", {k: v for k, v in config["database"].items() if k != "build"}),
        ("choose_clan_targets", config["pfam_clan"]["targets"]),
        ("find_neighbours", config["neighbours"]),
        *((verb, {"min_resolved": config["structures"]["min_resolved"]}) for verb in MAKE_TARGETS),
    ]:
        parser = argparse.ArgumentParser()
        importlib.import_module(f"npm_core.cli.{verb}").register(parser)
        assert section == {key: parser.get_default(key) for key in section}
    assign = config["structures"]["assign"]
    assert assign == {key: getattr(AssignmentSettings(), key) for key in assign}


@pytest.mark.parametrize(
    ("place", "verb", "prefix"),
    [
        ("properties.universe", "universe", ""),
        ("properties.split", "split_queries", ""),
        ("properties.database", "build_database", ""),
        ("properties.search", "search", ""),
        ("properties.families", "build_families", ""),
        ("properties.coverage_sweep", "coverage_sweep", ""),
        ("properties.structures.properties.select", "select_structures", ""),
        ("properties.structures.properties.select", "search_pdb", ""),
        ("properties.structures.properties.assign", "assign_structures", ""),
        ("properties.pfam_clan.properties.targets", "choose_clan_targets", ""),
        ("properties.neighbours", "find_neighbours", ""),
        ("properties.potts", "potts_contacts", ""),
        ("properties.potts", "prior_contacts", ""),
        ("properties.potts", "nearest_contacts", ""),
        ("properties.prior", "prior_contacts", "prior-"),
        ("properties.precision", "tabulate_precision", ""),
        ("properties.model_card", "model_card", ""),
        ("$defs.head", "train", "head-"),
        ("$defs.training", "train", ""),
        ("$defs.trunk.properties.transformer", "pretrain", "trunk-"),
        ("$defs.trunk.properties.pretraining", "pretrain", ""),
    ],
)
def test_every_setting_that_becomes_a_flag_is_one_of_its_verb(place, verb, prefix):
    section = reduce(
        lambda part, key: part[key], place.split("."), yaml.safe_load(SCHEMA.read_text())
    )
    parser = argparse.ArgumentParser()
    importlib.import_module(f"npm_core.cli.{verb}").register(parser)
    # `build` chooses the rule and is no flag.
    names = section["properties"].keys() - ({"build"} if verb == "build_database" else set())
    asked = {f"--{prefix}{name.replace('_', '-')}" for name in names}
    assert asked
    assert asked <= parser._option_string_actions.keys()


@pytest.mark.parametrize("over", [[], ["paper.yaml"]], ids=str)
def test_pretraining_takes_settings_that_are_not_stated(over):
    trunk = {"pretraining": {"asked": 0.2}, "transformer": {"feed_forward": 2}}
    more = {"npm": {"trunks": {"common": trunk}}}
    assert not list(misfits(settings(*over, more)))


def test_descriptions_in_the_schema_are_whole():
    """An unquoted comma in one makes the rest of it a key without a value."""

    def check(part):
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            assert value is not None, key
            if isinstance(value, dict | list):
                check(value)

    check(yaml.safe_load(SCHEMA.read_text()))


def keys(section: dict, prefix: str = "") -> set[str]:
    """Every key of nested settings, e.g. "npm.uniref50.head"."""
    found = set()
    for key, value in section.items():
        found |= {prefix + key} | (
            keys(value, f"{prefix}{key}.") if isinstance(value, dict) else set()
        )
    return found


def test_the_papers_settings_take_nothing_from_the_demo():
    paper = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())
    # The demo's trunk is of no experiment.
    theirs = ("universe", "packages", "sources.", "npm.trunks.common")
    demo = {key for key in keys(settings()) if not key.startswith(theirs)}
    assert demo - keys(paper) == set()
    assert "common" not in {paper["npm"][name]["trunk"] for name in ("uniref50", "pfam_clan")}
    for name in ("uniref50", "pfam"):
        common = keys(settings()["npm"]["trunks"]["common"])
        assert common - keys(paper["npm"]["trunks"][name]) == set()


def test_own_families_are_not_read_by_the_demos_toy_model():
    own = yaml.safe_load((ROOT / "config" / "local.yaml").read_text())
    assert keys(settings()["npm"]) - keys(own["npm"]) == set()


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"filter_identity": 90}, "--filter-identity 90"),
        ({"methods": ["X-RAY DIFFRACTION", "NMR"]}, "--methods 'X-RAY DIFFRACTION' NMR"),
        ({"frozen": True, "rows": 3}, "--frozen --rows 3"),
        ({"methods": [], "frozen": False, "lock": None, "batch": 0}, "--batch 0"),
        (
            {"salt": "-x y", "lock": "a-b", "depth_power": -1e-7},
            "'--salt=-x y' --lock a-b --depth-power=-1e-07",
        ),
    ],
)
def test_a_section_of_the_settings_is_told_as_flags(common, section, words):
    assert common()["flags"](section) == words
    assert common()["flags"]({"rank": 8}, "head-") == "--head-rank 8"


def test_a_search_runs_anew_for_other_settings_of_its_engine_and_for_no_others(common):
    def told(**changes):
        names = common({"search": changes})
        return names["search_settings"](), names["search_limits"]()

    (settled, limits) = told()
    for change in ({"timeout": 5}, {"memory_limit_gib": 3}, {"max_failed_share": 0.5}):
        assert told(**change)[0] == settled
        assert told(**change)[1] != limits
    assert told(mmseqs_sensitivity=4)[0] == settled
    assert told(cpu=2)[0] != settled
    assert told(max_length=9) == (settled.replace("2000", "9"), limits)
    assert told(engine="mmseqs2", cpu=2)[0] == told(engine="mmseqs2")[0]
    assert told(engine="mmseqs2", mmseqs_sensitivity=4)[0] != told(engine="mmseqs2")[0]


def test_a_training_runs_anew_for_what_decides_its_weights(common):
    def told(**changes):
        names = common({"npm": {"pfam_clan": {"training": changes}}})
        section = names["config"]["npm"]["pfam_clan"]["training"]
        precision = names["config"]["precision"]
        return names["training_settings"](section), names["unrelated_settings"](section, precision)

    (settled, free) = told()
    assert free.endswith("--contact-distance 8")
    for name in ("checkpoint_every", "validate_every", "micro_batch"):
        weights, others = told(**{name: 7})
        assert weights == settled
        assert f"--{name.replace('_', '-')} 7" in others
    assert told(rows=7)[0] != told()[0]


def test_whole_numbers_may_be_written_with_an_exponent(common):
    assert whole_numbers({"a": [4.49e5, 0.5], "b": {"c": 8.0, "d": True}, "e": "1.0"}) == {
        "a": [449000, 0.5],
        "b": {"c": 8, "d": True},
        "e": "1.0",
    }
    names = common({"npm": {"trunks": {"common": {"pretraining": {"steps": 4.49e5}}}}})
    trunk = names["trunk_settings"](wildcards(trunk="common"))
    assert "--steps 449000" in names["training_settings"](trunk["pretraining"])


def test_environments_hold_what_the_core_needs_in_the_versions_of_the_lock_file():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed, dev = (
        {re.split("[=><]", package)[0].lower() for package in packages}
        for packages in (project["dependencies"], project["optional-dependencies"]["dev"])
    )
    locked = (ROOT / "requirements.lock").read_text().splitlines()
    for path in (ROOT / "envs").glob("*.yaml"):
        *_, pip = yaml.safe_load(path.read_text())["dependencies"]
        names = {pin.split("==")[0].lower() for pin in pip["pip"]}
        told = f"{path.name}: run `make lock`"
        assert set(pip["pip"]) <= set(locked), told
        assert needed <= names, told
        assert not names & dev, told


def test_the_files_a_table_names_are_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.a3m", "b.a3m", "a.cif", "a.tsv"):
        Path(name).touch()
    Path("t.tsv").write_text(
        "id\tclan\talignment\tstructure\tcolumns\na\tA\ta.a3m\ta.cif\ta.tsv\nb\tB\tb.a3m\t\t\n"
    )
    sources = Sources(settings(LOCAL, {"local": {"pfam_clan": "t.tsv"}}))
    every = [Path(name) for name in ("a.a3m", "a.cif", "a.tsv", "b.a3m")]
    assert sources.own_files("uniref50") == every
    assert sources.own_files("pfam_clan", "B") == [Path("b.a3m")]
    with pytest.raises(WorkflowError, match=r"names C, but t\.tsv has no family .* has A, B"):
        sources.own_files("pfam_clan", "C")
    Path("s.fasta").touch()
    assert sources.missing_tables(Places(sources.config)) == []
    Path("t.tsv").unlink()
    Path("s.fasta").unlink()
    missing = [f"local.{name} is {file}: no such file in {tmp_path}" for name, file in OWN_FILES]
    assert sources.missing_tables(Places(sources.config)) == missing


OWN_FILES = [("uniref50", "t.tsv"), ("pfam_clan", "t.tsv"), ("sequences", "s.fasta")]


def test_the_maker_of_each_file_is_found_by_its_folder():
    rules = {
        rule: path.name
        for path in (ROOT / "rules").glob("*.smk")
        for rule in re.findall(r"^rule (\w+):", path.read_text(), re.M)
    }
    makers = (ROOT / "docs" / "formats.md").read_text().partition("\n## Settings")[0]
    told = {
        rule: next(line for line in makers.splitlines() if f"`{rule}`" in line) for rule in rules
    }
    for rule, file in rules.items():
        assert file in told[rule], f"{rule} of {file}"


def test_places_that_are_files_here_are_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mirror", "pdb").mkdir(parents=True)
    Path("mirror", "u.gz").touch()
    places = ["https://example.org/u.gz", "mirror/u.gz", "mirror/none.gz"]
    named = {"uniref50": places, "structures": "mirror/pdb/{middle}/{id}.cif"}
    sources = Sources(settings({"source": "paper", "sources": named}))
    assert sources.files("uniref50") == ["mirror/u.gz"]
    assert sources.addresses("uniref50")[:2] == [places[0], f"file://{tmp_path}/mirror/u.gz"]
    assert sources.structure_files() == [Path("mirror/pdb")]
    assert sources.structure_template() == f"file://{tmp_path}/mirror/pdb/{{middle}}/{{id}}.cif"
    with pytest.raises(WorkflowError, match=r"sources\.uniprot is still results/universe"):
        sources.files("uniprot")
    demo = Sources(settings())
    assert demo.files("uniprot") == ["results/universe/uniprot.fasta.gz"]
    assert demo.structure_files() == ["results/universe/truth/families.tsv"]


def test_a_card_says_nothing_of_the_demo_on_other_data(common):
    for changes in (
        [],
        ["paper.yaml"],
        ["real.yaml"],
        ["real_uniref50.yaml"],
        ["small_model.yaml"],
    ):
        common(*changes)["described_model"](wildcards())
    for changes in ([LOCAL], ["local.yaml"]):
        with pytest.raises(WorkflowError, match=r"model_card\.data and"):
            common(*changes)["described_model"](wildcards())


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        # C.4
        ("split", {"test_share": 0.1, "held_out": None}),
        ("search", {"engine": "hhblits", "iterations": 3, "e_value": 0.001}),
        ("structures.select", {"max_resolution": 2.5, "min_length": 40, "methods": []}),
        ("structures.select", {"deposited_before": "2020-05-01"}),
        ("structures.assign", {"identity": 0.5, "coverage": 0.8, "unit": "entry"}),
        ("structures.assign", {"cluster_identity": 0.5}),
        ("coverage_sweep", {"alignments": 1000}),
        # C.3
        ("families", {"filter_identity": 90, "filter_coverage": 0, "filter_diff": 0}),
        ("pfam_clan", {"max_rows": 100_000, "buckets": 5, "rounds": 5}),
        ("pfam_clan.selection", {"grid": {}}),
        # Section 2 and C.2
        ("families", {"identity_threshold": 0.8}),
        ("potts", {"objective": "ccmpred", "centre": "none"}),
        ("precision", {"contact_distance": 8.0}),
        # Table 2
        ("npm.pfam_clan", {"trunk": "pfam"}),
        ("npm.trunks.pfam.transformer", {"layers": 12, "width": 768, "attention_heads": 12}),
        ("npm.trunks.pfam.pretraining", {"steps": 175_000, "learning_rate": 4e-4}),
        ("npm.pfam_clan.head", {"kind": "conv", "rank": 128}),
        ("npm.pfam_clan.training", {"steps": 10_000, "batch": 64, "rows": 100, "frozen": True}),
        ("npm.pfam_clan.training", {"lambda_couplings": 1e-3, "lambda_fields": 1e-2}),
        ("npm.pfam_clan.training", {"head_learning_rate": 1e-4, "max_length": 512}),
        ("npm.uniref50", {"trunk": "uniref50"}),
        ("npm.trunks.uniref50.transformer", {"layers": 32, "width": 1024}),
        ("npm.trunks.uniref50.transformer", {"attention_heads": 16}),
        ("npm.trunks.uniref50.pretraining", {"steps": 449_000, "learning_rate": 3e-5}),
        ("npm.uniref50.training", {"steps": 135_000, "batch": 2048, "rows": 30}),
        ("npm.uniref50.training", {"lambda_couplings": 1e-3, "lambda_fields": 1e-2}),
        ("npm.uniref50.training", {"head_learning_rate": 3e-5, "trunk_learning_rate": 3e-5}),
        ("npm.uniref50.training", {"max_length": 512}),
    ],
)
def test_the_papers_settings_are_those_it_tells(section, expected):
    found = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())
    for key in section.split("."):
        found = found[key]
    assert {key: found[key] for key in expected} == expected
