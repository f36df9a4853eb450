"""What is wrong with settings: by the schema, and what they say against one another."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from places import EXPERIMENTS, Places, is_imported

from npm_core.files import write_text

SCHEMA = Path(__file__).parent / "schemas" / "config.schema.yaml"
SOURCE = Path("results/source.txt")


def misfits(config: dict[str, Any]) -> Iterator[str]:
    """Where settings do not fit the schema: the place of each, and what is wrong there."""
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    for error in Draft202012Validator(schema).iter_errors(config):
        place = ".".join(map(str, error.absolute_path))
        yield f"{place or 'settings'}: {error.message}"


def whole_numbers(value: Any) -> Any:
    """A value, and all in it, with 4.49e+5 (to YAML a float, to the schema whole) as 449000."""
    if isinstance(value, dict):
        return {key: whole_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [whole_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def another_source(config: dict[str, Any]) -> Iterator[str]:
    """Why a run must not write here: the results that are here were made from another source."""
    found = SOURCE.read_text(encoding="utf-8").strip() if SOURCE.is_file() else config["source"]
    if found != config["source"]:
        yield (
            f"source is {config['source']}, but the results in {Path.cwd()} were made from "
            f"source {found} and would be replaced: give each a folder of its own by --directory "
            f"runs/NAME, or delete {SOURCE} if they are not wanted"
        )


def record_source(config: dict[str, Any]) -> None:
    """Write down what the results of this folder are made from, for `another_source`."""
    write_text(SOURCE, f"{config['source']}\n")


def contradictions(config: dict[str, Any]) -> Iterator[str]:
    """Each contradiction, with what to do; the settings are valid by the schema."""
    source, sources, local = config["source"], config["sources"], config["local"]
    clans, npm, build = config["pfam_clan"], config["npm"], config["database"]["build"]
    imported, trunks = is_imported(config), Places(config).pretrained_trunks()
    if clans["rounds"] > clans["buckets"]:
        yield (
            f"pfam_clan.rounds is {clans['rounds']} and pfam_clan.buckets {clans['buckets']}, but "
            "each round evaluates another bucket: lower rounds, or raise buckets"
        )
    if any(number >= clans["rounds"] for number in clans["without_rounds"]):
        yield (
            f"pfam_clan.without_rounds is {clans['without_rounds']}, but the rounds are 0 to "
            f"{clans['rounds'] - 1}: take the others out, or raise pfam_clan.rounds"
        )
    ablations, ablated = clans["ablations"], clans["ablation_depths"]
    if bool(ablations) != bool(ablated):
        yield (
            f"pfam_clan.ablations has {len(ablations)} heads and pfam_clan.ablation_depths "
            f"{len(ablated)} depths: name both, or neither"
        )
    if foreign := [str(depth) for depth in ablated if depth not in clans["depths"]]:
        yield (
            f"pfam_clan.ablation_depths names {', '.join(foreign)}, which pfam_clan.depths does "
            "not: NPM itself would be missing beside the other heads; name them there, too"
        )
    if not clans["clans"] and not (imported and local["pfam_clan"] is None):
        yield (
            "pfam_clan.clans is empty: name the clans to evaluate (the other report alone is made "
            "by `snakemake reports/uniref50.html`)"
        )
    if not imported and config["split"]["test_share"] in (0, 1):
        yield (
            f"split.test_share is {config['split']['test_share']}, which leaves a split without "
            "sequences: name a share between 0 and 1"
        )
    if imported and local["uniref50"] is None and local["pfam_clan"] is None:
        yield f"source is {source}: name a table in local.uniref50 or local.pfam_clan"
    for experiment in EXPERIMENTS:
        if npm[experiment]["trunk"] not in npm["trunks"]:
            yield (
                f"npm.{experiment}.trunk is {npm[experiment]['trunk']}, but npm.trunks has "
                f"{', '.join(npm['trunks'])}: name one of these, or describe another there"
            )
    if imported and local["sequences"] is None and trunks:
        yield (
            f"source is {source}: name the FASTA for the language model in local.sequences, or a "
            f"trunk in {' and '.join(f'npm.trunks.{name}.checkpoint' for name in trunks)}"
        )
    if npm["pretraining_sequences"] is not None and (imported or not trunks):
        yield (
            "npm.pretraining_sequences would not be read: leave it null; with source local or "
            "packages local.sequences takes its place, and trunks that are given (checkpoint) are "
            "not pretrained"
        )
    if sources["uniref50_member"] is not None and "uniref50_archive" not in sources:
        yield "sources.uniref50_member is a file of an archive: name it in sources.uniref50_archive"
    if not imported and config["search"]["engine"] == "hhblits":
        if build and sources.get("uniprot") is None:
            yield "database.build is true: name the sequences to build it from in sources.uniprot"
        if not build and "uniclust30" not in sources:
            yield (
                "database.build is false: name the published database in sources.uniclust30, or "
                "set database.build to true"
            )
    universe = config["universe"]
    if source == "demo" and not (
        universe["clans"] * universe["families_per_clan"] + universe["lone_families"]
    ):
        yield "universe has no family: raise universe.lone_families, or clans and families_per_clan"
    for name, trunk in trunks.items():
        width, heads = trunk["transformer"]["width"], trunk["transformer"]["attention_heads"]
        if width % (2 * heads):
            yield (
                f"npm.trunks.{name}.transformer has width {width} and attention_heads {heads}, but "
                f"a head's width must be a whole even number: make the width a multiple of "
                f"{2 * heads}"
            )
    day = config["structures"]["select"]["deposited_before"]
    try:
        date.fromisoformat(day)
    except ValueError:
        yield f"structures.select.deposited_before is {day}: name a day, as YYYY-MM-DD"
