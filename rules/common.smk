"""Settings check, digests of the code behind each verb, flags, and functions of wildcards."""

import json
import re
import shlex
from pathlib import Path

# These three are beside the Snakefile.
from config_checks import (
    another_source,
    contradictions,
    misfits,
    record_source,
    whole_numbers,
)
from places import ClanEvaluation, Places
from sources import Sources
from snakemake.exceptions import WorkflowError

from npm_core.code_digest import source_digest
from npm_core.selection import grid

if errors := list(misfits(config)):
    raise WorkflowError(
        "Settings do not fit workflow/schemas/config.schema.yaml.", *errors
    )
config.update(whole_numbers(config))

if conflicts := list(contradictions(config)):
    raise WorkflowError("Settings contradict one another.", *conflicts)

if another := list(another_source(config)):
    raise WorkflowError(*another)

sources = Sources(config)
places = Places(config)

# Of a search. The size of MMseqs2's batches does not change its alignments either.
SEARCH_LIMITS = ("timeout", "memory_limit_gib", "max_failed_share", "mmseqs_batch")

# Of a training: when it saves and validates, what counts as a contact where they are watched, and
# how much it holds at once, which decides no more than how sums are rounded.
UNRELATED = ("checkpoint_every", "validate_every", "contact_distance", "micro_batch")


wildcard_constraints:
    dataset="train|test|targets",
    shard=r"\d{4}",
    source="|".join(sources.published()),
    clan=r"(?!uniref50)[A-Za-z0-9_-]+",
    round=r"\d+",
    depth=r"\d+|full",
    # NPM itself, and the other heads of Figure 8. At depth 0 the evaluation bucket is left out.
    model="|".join(["npm", *map(re.escape, config["pfam_clan"]["ablations"])]),
    ablation="|".join([*map(re.escape, config["pfam_clan"]["ablations"]), "-"]),
    candidate=r"\d+",
    # What no experiment names is not made; none is called "-".
    trunk="|".join([*map(re.escape, places.pretrained_trunks()), "-"]),
    group=r"uniref50/\d{4}|pfam_clan/[A-Za-z0-9_-]+/\d+",
    experiment="uniref50|pfam_clan",
    evaluation=r"uniref50/\d{4}|pfam_clan/[A-Za-z0-9_-]+/\d+/(\d+|full)",


def verb_digest(verb):
    """Digest of the code one verb runs: an edit in it, and only there, reruns the rule.

    Rules that a search or a training waits for, and these, carry a `recipe` instead, raised by hand
    where a change of the code changes their output: an edit of what many verbs share, such as the
    progress bar, would repeat days of work.
    """
    return source_digest(f"npm_core.cli.{verb.replace('-', '_')}")


def flags(section, prefix=""):
    """One config section as command line flags: `filter_identity: 90` is `--filter-identity 90`.

    A list repeats its values behind one flag, true is the bare flag; false, null and an empty list
    are left out. A value that would itself look like a flag is written into the flag's word.
    """
    words = []
    for key, value in section.items():
        flag = f"--{prefix}{key.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif isinstance(value, list):
            words += [flag, *map(str, value)] if value else []
        elif str(value).startswith("-"):
            words.append(f"{flag}={value}")
        elif value is not False and value is not None:
            words += [flag, str(value)]
    return shlex.join(words)


def write_arguments(path, log, section):
    """Write a section's flags to a file, one word a line, for a verb to read as @FILE."""
    words = shlex.split(flags(section))
    Path(path).write_text("".join(f"{word}\n" for word in words))
    Path(log).write_text(f"{len(words)} words to {path}\n")


def published(**places):
    """Flags of what is fetched, and of the lock file; mirrors and folders change no byte of it."""
    return flags(places | {"lock": config["sources_lock"]})


def queries_file(wildcards):
    """The FASTA that a dataset's shards are cut from."""
    if wildcards.dataset == "targets":
        return "results/structures/representatives.fasta"
    return f"results/queries/{wildcards.dataset}.fasta"


def sharding(wildcards):
    """How a dataset is cut: the number of shards, and the limit of queries if there is one."""
    queries = config["queries"]
    return flags(
        {
            "shards": queries["shards"][wildcards.dataset],
            "max_queries": queries["limit"][wildcards.dataset],
        }
    )


def may_be_empty(wildcards):
    """Flag of `shard-queries` for the targets: perhaps none resembles a split, as a report says."""
    return flags({"may_be_empty": wildcards.dataset == "targets"})


def search_settings():
    """What decides the alignments; of the engines' own settings those of the chosen one."""
    foreign = "mmseqs_" if config["search"]["engine"] == "hhblits" else "cpu"
    return flags(
        {
            key: value
            for key, value in config["search"].items()
            if key not in SEARCH_LIMITS and not key.startswith(foreign)
        }
    )


def search_limits():
    """What a search may cost and how many may fail: other limits leave finished ones valid."""
    return flags({key: config["search"][key] for key in SEARCH_LIMITS})


def database_name(wildcards, input):
    """The database as its engine names it: a prefix for HHblits, a folder for MMseqs2."""
    return input.database[0].removesuffix("_a3m.ffdata")


def clustering_settings():
    """How a database's sequences are clustered, whichever engine searches it."""
    return {
        key: config["database"][key] for key in config["database"] if key != "build"
    }


def hhfilter_settings():
    """HHfilter's settings but the coverage, which the sweep varies."""
    return {key: config["families"][key] for key in ("filter_identity", "filter_diff")}


def searched_prefixes(wildcards, input):
    """Flag of `import-clan` for the families found among packaged sequences."""
    data = (path for path in input.searched if path.endswith(".ffdata"))
    return flags({"searched": [path.removesuffix(".ffdata") for path in data]})


def clan_size(wildcards):
    """Flag of `extract-clan` for the number of families a clan must have, where it is known."""
    return flags({"size": config["pfam_clan"]["sizes"].get(wildcards.clan)})


def pretrained_flag(wildcards, input):
    """Flag of `model-card` for the pretrained trunk, where it was made here."""
    record = input.get("pretrained")
    return flags({"pretrained": record and Path(record).parent})


def described_model(wildcards):
    """The model of a card, for which the settings say what it was trained on."""
    card = config["model_card"]
    demo = config["source"] != "demo" and "generated universe" in (card["data"] or "")
    if demo or None in card.values():
        raise WorkflowError(
            "The settings do not say what the model is trained on: give model_card.data and "
            f"model_card.licence a sentence each (source is {config['source']})"
        )
    return "results/models/uniref50/model.safetensors"


def training_shards(wildcards):
    """Shards of the training sequences by the flag of the verbs that read them all."""
    files = {
        "families": places.training_families("uniref50"),
        "msas": places.training_msas()["data"],
    }
    return {wildcards.kind: files[wildcards.kind]}


def evaluation(wildcards):
    """The evaluation that a rule's wildcard `evaluation` names."""
    return places.evaluation(wildcards.evaluation)


def clan_evaluation(wildcards):
    """A clan's bucket in one round, at the rule's depth or whole."""
    depth = wildcards.get("depth", "full")
    return ClanEvaluation(wildcards.clan, wildcards.round, depth)


def validation_bucket(wildcards, depth="full"):
    """The bucket that settings of a round are chosen on."""
    buckets = config["pfam_clan"]["buckets"]
    return clan_evaluation(wildcards).validation(buckets, depth)


def model_flags(wildcards):
    """What a model is called in the tables, and its shuffled control.

    Other heads (Figure 8) are NPM too: the tables tell them apart by a column `variant`.
    """
    if evaluation(wildcards).leaves_bucket_out:
        return flags({"model": "npm_without"})
    return flags({"model": "npm", "shuffle_seed": config["seed"]})


def evaluation_columns(wildcards):
    """Flag of `tabulate-precision` for what every row of an evaluation's table carries."""
    return flags({"column": evaluation(wildcards).columns})


def model_head(wildcards):
    """The head of a clan's model: the experiment's own, or one of Figure 8."""
    if wildcards.model == "npm":
        return flags(config["npm"]["pfam_clan"]["head"], "head-")
    return flags(config["pfam_clan"]["ablations"][wildcards.model], "head-")


def watched_msas(wildcards):
    """Flag of `train` for the evaluation targets' reduced alignments; there are none at depth 0."""
    return flags({"validation_reduced": clan_evaluation(wildcards).watched})


def bucket_use(wildcards):
    """Flag of `train` for the evaluation bucket: reduced, or left out (the control)."""
    left_out = clan_evaluation(wildcards).leaves_bucket_out
    return "--without" if left_out else "--replace"


def choice_flag(wildcards):
    """Flag of `train` for the record of a round's chosen settings, where there is one."""
    return flags({"choice": places.chosen_settings(wildcards.clan, wildcards.round)})


def selection_grid(wildcards):
    """The settings tried, as one line."""
    return json.dumps(config["pfam_clan"]["selection"]["grid"])


def candidates():
    """Every combination of the settings tried."""
    return grid(config["pfam_clan"]["selection"]["grid"])


def trunk_settings(wildcards):
    """The sections on the trunk that the rule's wildcard names."""
    return config["npm"]["trunks"][wildcards.trunk]


def watched_sequences(wildcards, input):
    """Flag of `pretrain` for the first shard of test queries, if there are any."""
    return flags({"validation": [f"{shards}/0000.fasta" for shards in input.shards]})


def training_settings(section):
    """What decides the weights that a training ends with."""
    return flags({key: section[key] for key in section if key not in UNRELATED})


def unrelated_settings(*sections):
    """What a training may be told and ends with the same weights, whatever it is."""
    return flags({k: each[k] for each in sections for k in UNRELATED if k in each})


def candidate_settings(wildcards):
    """Flags of one candidate's training."""
    tried = candidates()[int(wildcards.candidate)]
    return training_settings({**config["npm"]["pfam_clan"]["training"], **tried})


def candidate_metrics(wildcards):
    """Trajectories of a round's candidates, in the order of the grid."""
    folder = f"results/selection/{wildcards.clan}/{wildcards.round}"
    return [f"{folder}/{number}/metrics.csv" for number in range(len(candidates()))]


def test_rows_flag(wildcards, input):
    """Flag for rows that no model was made from; without a reduction there are none."""
    return flags({"test_rows": list(input.test_rows)})


def sister_flags(wildcards, input):
    """Flags of `npm-contacts` for the sister control."""
    if not input.sisters:
        return ""
    neighbours, families = input.sisters
    return flags(
        {"neighbours": neighbours, "families": families, "sister_seed": config["seed"]}
    )


def nearest_families_flags(wildcards, input):
    """How `nearest-contacts` is told of the families: by their list, or as a clan's one table."""
    first = shlex.quote(input.families[0])
    return f"@{first}" if first.endswith(".args") else f"--families {first}"


def settings_json(wildcards):
    """The checked settings as one line."""
    return json.dumps(config, sort_keys=True)
