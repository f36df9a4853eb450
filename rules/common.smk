"""Settings check, digests of the code behind each verb, and input functions. Nothing else."""

import json
import re
import shlex
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from npm_core.fetch import is_url
from npm_core.provenance import source_digest
from npm_core.selection import grid

validate(config, "../workflow/schemas/config.schema.yaml", set_default=False)


def is_local():
    """The user's own alignments and structures take the place of database search."""
    return config["source"] in ("local", "packages")


def contradictions():
    """What settings say against one another, which no schema sees; each with what to do."""
    source, sources, local = config["source"], config["sources"], config["local"]
    clans, npm, build = config["pfam_clan"], config["npm"], config["database"]["build"]
    imported = is_local()
    given = npm["trunk_checkpoint"] is not None
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
    if not clans["clans"] and not (imported and local["pfam_clan"] is None):
        yield (
            "pfam_clan.clans is empty: name the clans to evaluate (the other report alone is made "
            "by `snakemake reports/uniref50.html`)"
        )
    if imported and local["uniref50"] is None and local["pfam_clan"] is None:
        yield f"source is {source}: name a table in local.uniref50 or local.pfam_clan"
    if imported and local["sequences"] is None and not given:
        yield (
            f"source is {source}: name the FASTA for the language model in local.sequences, or a "
            "trunk in npm.trunk_checkpoint"
        )
    if npm["pretraining_sequences"] is not None and (imported or given):
        yield (
            "npm.pretraining_sequences would not be read: leave it null; with source local or "
            "packages local.sequences takes its place, with npm.trunk_checkpoint nothing is pretrained"
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


conflicts = list(contradictions())
if conflicts:
    raise WorkflowError("Settings contradict one another.", *conflicts)

# Of a search. The size of MMseqs2's batches does not change its alignments either.
SEARCH_LIMITS = ("timeout", "memory_limit_gib", "max_failed_share", "mmseqs_batch")


wildcard_constraints:
    dataset="train|test|targets",
    shard=r"\d{4}",
    clan=r"(?!uniref50)[A-Za-z0-9_-]+",
    round=r"\d+",
    depth=r"\d+|full",
    # NPM itself, and the other heads of Figure 8. At depth 0 the evaluation bucket is left out.
    model="|".join(["npm", *map(re.escape, config["pfam_clan"]["ablations"])]),
    ablation="|".join([*map(re.escape, config["pfam_clan"]["ablations"]), "-"]),
    candidate=r"\d+",
    group=r"uniref50/\d{4}|pfam_clan/[A-Za-z0-9_-]+/\d+",
    experiment="uniref50|pfam_clan",
    evaluation=r"uniref50/\d{4}|pfam_clan/[A-Za-z0-9_-]+/\d+/(\d+|full)",


def verb_digest(verb):
    """Digest of the code one verb runs: an edit in it, and only there, reruns the rule."""
    return source_digest(f"npm_core.cli.{verb.replace('-', '_')}")


def flags(section, prefix=""):
    """One config section as command line flags: `filter_identity: 90` is `--filter-identity 90`.

    A list repeats its values behind one flag, true is the bare flag; false, null and an empty list
    are left out.
    """
    words = []
    for key, value in section.items():
        flag = f"--{prefix}{key.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif isinstance(value, list):
            words += [flag, *map(str, value)] if value else []
        elif value is not False and value is not None:
            words += [flag, str(value)]
    return shlex.join(words)


def write_arguments(path, log, section):
    """Write a section's flags to a file, one word a line, for a verb to read as @FILE."""
    words = shlex.split(flags(section))
    Path(path).write_text("".join(f"{word}\n" for word in words))
    Path(log).write_text(f"{len(words)} words to {path}\n")


def address(place):
    """A configured place as a URL: a path is relative to the working directory."""
    if is_url(place):
        return place
    # Braces stay as they are: the place may be a template.
    return Path(place).resolve().as_uri().replace("%7B", "{").replace("%7D", "}")


def own_table(experiment):
    """Input function: the user's table of families for an experiment."""
    return lambda wildcards: config["local"][experiment]


def own_files(experiment):
    """Input function: the files that the table names, for a clan those of its families."""

    def files(wildcards):
        from npm_core.local_data import read_table

        table = config["local"][experiment]
        # Without it Snakemake says that an input is missing.
        families = read_table(table) if Path(table).is_file() else []
        clan = wildcards.get("clan")
        return [
            path
            for family in families
            if clan in (None, family.clan)
            for path in (family.alignment, family.structure, family.columns)
            if path is not None
        ]

    return files


def addresses(wildcards):
    """The URL of a source, then its mirrors."""
    return [address(place) for place in config["sources"][wildcards.source]]


def structure_template(wildcards):
    """URL of an entry's mmCIF file, with its {id} and {middle} to be filled in."""
    return address(config["sources"]["structures"])


def mirror_file(wildcards):
    """Those places of a source that are files here, or that rule `generate_universe` makes."""
    return [
        place
        for place in config["sources"][wildcards.source]
        if is_generated(place, wildcards.source) or Path(place).exists()
    ]


def is_generated(place, name):
    """Whether a source's place is in the generated universe, which no other source may read."""
    if not place.startswith("results/universe/"):
        return False
    if config["source"] != "demo":
        raise WorkflowError(
            f"source is {config['source']}, but sources.{name} is still {place}, of the demo's "
            "generated universe. Name the real places, or ask for what does not need them"
        )
    return True


def structure_mirror(wildcards):
    """What stands for all structures: their folder, or the table of the generated universe."""
    template = config["sources"]["structures"]
    if is_generated(template, "structures"):
        return ["results/universe/truth/families.tsv"]
    folder = Path(template.partition("{")[0] + "x").parent
    return [] if is_url(template) or not folder.is_dir() else [folder]


def optional_indexes():
    """What the selection of structures reads besides the archive's two index files."""
    sources = config["sources"]
    files = {
        "obsolete": "results/sources/pdb_obsolete" if sources["pdb_obsolete"] else None,
        "hits": "results/sources/pdb_hits" if sources["pdb_search"] else None,
    }
    return {name: path for name, path in files.items() if path is not None}


def uniref50_fasta(wildcards):
    """UniRef50 as it is published, or taken out of its archive."""
    packed = config["sources"]["uniref50_member"] is not None
    return (
        "results/unpacked/uniref50.fasta.gz" if packed else "results/sources/uniref50"
    )


def held_out_list(wildcards):
    """The file of the test sequences' ids, where the split is not by hash."""
    return config["split"]["held_out"] or []


def shards(dataset):
    """Names of the shards of queries; imported alignments are one."""
    count = 1 if is_local() else config["queries"]["shards"][dataset]
    return [f"{number:04d}" for number in range(count)]


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


def search_database(wildcards):
    """What the search engine's database is known by; for HHblits it is built or published."""
    if config["search"]["engine"] == "mmseqs2":
        return "results/database/mmseqs2"
    how = "built" if config["database"]["build"] else "unpacked"
    return f"results/database/{how}/database_a3m.ffindex"


def database_name(wildcards, input):
    """The database as its engine names it: a prefix for HHblits, a folder for MMseqs2."""
    return input.database.removesuffix("_a3m.ffindex")


def searched_or_imported(wildcards):
    """The shard's alignments (FFindex of A3M): by search, or the user's own."""
    if is_local():
        return multiext(
            f"results/imported/uniref50/{wildcards.dataset}", ".ffdata", ".ffindex"
        )
    return multiext(
        f"results/msas/{wildcards.dataset}/{wildcards.shard}", ".ffdata", ".ffindex"
    )


def training_msas(suffix):
    """The files of one kind of all alignments of training sequences."""
    if is_local():
        return [f"results/imported/uniref50/train{suffix}"]
    return expand(
        "results/msas/train/{shard}{suffix}", shard=shards("train"), suffix=suffix
    )


def hhfilter_settings():
    """HHfilter's settings but the coverage, which the sweep varies."""
    return {key: config["families"][key] for key in ("filter_identity", "filter_diff")}


def clan_file(name):
    """Input function: a clan's file `name`, cut from Pfam or imported."""
    folder = "imported" if is_local() else "clans"
    return f"results/{folder}/{{clan}}/{name}"


def package_shards():
    """Shards of the search for a clan's families; none where the source does not search."""
    searched = config["source"] == "packages"
    return [
        f"{number:04d}"
        for number in range(config["packages"]["shards"] if searched else 0)
    ]


def searched_families(wildcards):
    """FFindex files of the families found for a clan."""
    return [
        f"results/packages/{wildcards.clan}/{shard}.ffindex"
        for shard in package_shards()
    ]


def searched_prefixes(wildcards, input):
    """Flag of `import-clan` for them."""
    return flags(
        {"searched": [path.removesuffix(".ffindex") for path in input.searched]}
    )


def extracted_clans(wildcards):
    """Clans as `extract-clans` takes them: with the number of families where it is known."""
    sizes = config["pfam_clan"]["sizes"]
    return [
        f"{clan}={sizes[clan]}" if clan in sizes else clan
        for clan in config["pfam_clan"]["clans"]
    ]


def initial_trunk(wildcards):
    """Weights that every training begins with: the pretrained trunk's, or the user's own."""
    folder = config["npm"]["trunk_checkpoint"] or "results/models/pretrained"
    return f"{folder}/model.safetensors"


def pretraining_record():
    """The record of the pretraining, where there is one."""
    if config["npm"]["trunk_checkpoint"] is not None:
        return {}
    return {
        "pretrained": "results/models/pretrained/model.safetensors",
        "pretraining": "results/models/pretrained/metrics.csv",
    }


def pretrained_flag(wildcards, input):
    """Flag of `model-card` for it."""
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


def pretraining_sequences(wildcards):
    """What the language model is pretrained on: the user's sequences, or UniRef50's train split."""
    if is_local():
        return config["local"]["sequences"]
    return config["npm"]["pretraining_sequences"] or "results/queries/train.fasta"


def training_families(wildcards):
    """Families of UniRef50's training sequences."""
    return expand(
        "results/families/uniref50/train/{shard}.parquet", shard=shards("train")
    )


def training_shards(wildcards):
    """Shards of the training sequences by the flag of the verbs that read them all."""
    files = {"families": training_families(wildcards), "msas": training_msas(".ffdata")}
    return {wildcards.kind: files[wildcards.kind]}


def validation_families(wildcards):
    """Families of held-out sequences, on which the training is watched."""
    return expand(
        "results/families/uniref50/test/{shard}.parquet", shard=shards("test")
    )


def uniref50_targets(wildcards):
    """Proteins of known structure of one shard."""
    if is_local():
        return "results/imported/uniref50/targets.parquet"
    shard = wildcards.get("shard") or wildcards[0].split("/")[-1]
    return f"results/structures/targets/{shard}.parquet"


def evaluation_targets(wildcards):
    """Proteins of known structure of one evaluation."""
    experiment, *place = wildcards.evaluation.split("/")
    if experiment == "uniref50":
        return uniref50_targets(wildcards)
    clan, number, depth = place
    # Targets are those of the bucket; whether its alignments are reduced or gone is no matter.
    depth = "full" if depth == "0" else depth
    return f"results/reductions/{clan}/{number}/{depth}/targets.parquet"


def evaluation_families(wildcards):
    """Alignments of those proteins, to which the independent Potts model is fitted."""
    return families_of(wildcards.evaluation)


def families_of(evaluation):
    """Alignments of the proteins of one evaluation."""
    experiment, *place = evaluation.split("/")
    if experiment == "uniref50":
        return f"results/families/uniref50/targets/{place[0]}.parquet"
    return f"results/reductions/{'/'.join(place)}/target_msas.parquet"


def evaluation_model(wildcards):
    """Weights of the Neural Potts Model that an evaluation is about."""
    if wildcards.evaluation.startswith("uniref50/"):
        return "results/models/uniref50/model.safetensors"
    model = wildcards.get("model", "npm")
    return f"results/models/{wildcards.evaluation}/{model}/model.safetensors"


def model_flags(wildcards):
    """What a model is called in the tables, and its shuffled control.

    Other heads (Figure 8) are NPM too: the tables tell them apart by a column `variant`.
    """
    _, *place = wildcards.evaluation.split("/")
    if place[-1] == "0":
        return flags({"model": "npm_without"})
    return flags({"model": "npm", "shuffle_seed": config["seed"]})


def model_head(wildcards):
    """The head of a clan's model: the experiment's own, or one of Figure 8."""
    if wildcards.model == "npm":
        return flags(config["npm"]["pfam_clan"]["head"], "head-")
    return flags(config["pfam_clan"]["ablations"][wildcards.model], "head-")


def bucket_families(wildcards):
    """The evaluation bucket's families at one depth; those of depth 0 are all left out."""
    depth = "full" if wildcards.depth == "0" else wildcards.depth
    return (
        f"results/reductions/{wildcards.clan}/{wildcards.round}/{depth}/reduced.parquet"
    )


def bucket_msas(wildcards):
    """The evaluation targets' reduced alignments, whose loss is watched; there are none at 0."""
    if wildcards.depth == "0":
        return []
    folder = f"results/reductions/{wildcards.clan}/{wildcards.round}/{wildcards.depth}"
    return [f"{folder}/target_msas.parquet"]


def watched_msas(wildcards):
    """Flag of `train` for them."""
    return flags({"validation_reduced": bucket_msas(wildcards)})


def bucket_use(wildcards):
    """Flag of `train` for the evaluation bucket: reduced, or left out (the control)."""
    return "--without" if wildcards.depth == "0" else "--replace"


def chosen_settings(wildcards):
    """The record of the settings chosen for a round, where there is a grid to choose from."""
    if not config["pfam_clan"]["selection"]["grid"]:
        return []
    return f"results/selection/{wildcards.clan}/{wildcards.round}.json"


def choice_flag(wildcards):
    """Flag of `train` for that record."""
    return flags({"choice": chosen_settings(wildcards)})


def selection_grid(wildcards):
    """The settings tried, as one line."""
    return json.dumps(config["pfam_clan"]["selection"]["grid"])


def validation_round(wildcards):
    """The bucket that settings are chosen on: the next one, which trains in this round."""
    return (int(wildcards.round) + 1) % config["pfam_clan"]["buckets"]


def validation_file(depth, name):
    """Input function: a file of the validation bucket reduced to `depth`."""
    return lambda wildcards: (
        f"results/reductions/{wildcards.clan}/{validation_round(wildcards)}/{depth}/{name}"
    )


def candidates():
    """Every combination of the settings tried."""
    return grid(config["pfam_clan"]["selection"]["grid"])


def candidate_settings(wildcards):
    """Flags of one candidate's training."""
    tried = candidates()[int(wildcards.candidate)]
    return flags({**config["npm"]["pfam_clan"]["training"], **tried})


def candidate_metrics(wildcards):
    """Trajectories of a round's candidates, in the order of the grid."""
    folder = f"results/selection/{wildcards.clan}/{wildcards.round}"
    return [f"{folder}/{number}/metrics.csv" for number in range(len(candidates()))]


def sister_inputs(wildcards):
    """Nearest families of a clan's targets, and the families, for the sister control."""
    experiment, *place = wildcards.evaluation.split("/")
    if experiment == "uniref50" or wildcards.model != "npm" or place[-1] == "0":
        return []
    return [
        f"results/neighbours/pfam_clan/{place[0]}/{place[1]}.parquet",
        f"results/families/pfam_clan/{place[0]}.parquet",
    ]


def sister_flags(wildcards, input):
    """Flags of `npm-contacts` for it."""
    if not input.sisters:
        return ""
    neighbours, families = input.sisters
    return flags(
        {"neighbours": neighbours, "families": families, "sister_seed": config["seed"]}
    )


def without_scores(wildcards):
    """Scores of NPM that never saw a clan's evaluation bucket, in the rounds that train one."""
    experiment, *place = wildcards.evaluation.split("/")
    if (
        experiment == "uniref50"
        or int(place[1]) not in config["pfam_clan"]["without_rounds"]
    ):
        return []
    return f"results/contacts/pfam_clan/{place[0]}/{place[1]}/0/npm.parquet"


def evaluation_columns(wildcards):
    """What every row of an evaluation's precision table carries."""
    experiment, *place = wildcards.evaluation.split("/")
    if experiment == "uniref50":
        return ""
    return shlex.join(
        ["--column", *map("=".join, zip(("clan", "round", "reduced_depth"), place))]
    )


def nearest_scores(wildcards):
    """The nearest neighbour's scores: those of a round serve all its depths of reduction."""
    return nearest_of(wildcards.evaluation)


def nearest_of(evaluation):
    """The nearest neighbour's scores of one evaluation."""
    experiment, *place = evaluation.split("/")
    group = (
        evaluation
        if experiment == "uniref50"
        else f"{experiment}/{place[0]}/{place[1]}"
    )
    return f"results/contacts/{group}/nearest.parquet"


def group_targets(wildcards):
    """Targets that share their nearest neighbours: a UniRef50 shard, or a round of a clan."""
    experiment, *place = wildcards.group.split("/")
    if experiment == "uniref50":
        return uniref50_targets(wildcards)
    return f"results/reductions/{place[0]}/{place[1]}/full/targets.parquet"


def group_families(wildcards):
    """Families among which the nearest neighbours were looked for; UniRef50's with their list."""
    experiment, *place = wildcards.group.split("/")
    if experiment == "uniref50":
        return ["results/lists/train_families.args", *training_families(wildcards)]
    return [f"results/families/pfam_clan/{place[0]}.parquet"]


def group_families_flags(wildcards, input):
    """How `nearest-contacts` is told of them: by the list, or as a clan's one table."""
    first = shlex.quote(input.families[0])
    return f"@{first}" if first.endswith(".args") else f"--families {first}"


def evaluations(experiment):
    """Every evaluation of one experiment."""
    if experiment == "uniref50":
        return [f"uniref50/{shard}" for shard in shards("targets")]
    clans = config["pfam_clan"]
    return expand(
        "pfam_clan/{clan}/{round}/{depth}",
        clan=clans["clans"],
        round=range(clans["rounds"]),
        depth=clans["depths"],
    )


def ablations():
    """Every evaluation of another head (Figure 8), with its name."""
    clans = config["pfam_clan"]
    return expand(
        "pfam_clan/{clan}/{round}/{depth}/{model}",
        clan=clans["clans"],
        round=range(clans["rounds"]),
        depth=clans["ablation_depths"],
        model=clans["ablations"],
    )


def report_targets(wildcards):
    """Target tables of the UniRef50 report."""
    if is_local():
        return ["results/imported/uniref50/targets.parquet"]
    return expand("results/structures/targets/{shard}.parquet", shard=shards("targets"))


def clan_targets(wildcards):
    """Target tables of the clan report, one a clan."""
    return [
        clan_file("targets.parquet").format(clan=clan)
        for clan in config["pfam_clan"]["clans"]
    ]


def uniref50_ledgers(wildcards):
    """Where the UniRef50 chain counted what it dropped, in the order of the chain."""
    built = [
        f"results/families/uniref50/{dataset}/{shard}.ledger.tsv"
        for dataset in ("train", "test", "targets")
        for shard in shards(dataset)
    ]
    if is_local():
        return ["results/imported/uniref50/audit.tsv", *built]
    searched = [path.replace("families/uniref50", "msas") for path in built]
    return [
        "results/structures/select_structures.audit.tsv",
        "results/structures/assign_structures.audit.tsv",
        *(
            target.replace(".parquet", ".audit.tsv")
            for target in report_targets(wildcards)
        ),
        *searched,
        *built,
        "results/leakage/train_msas.audit.tsv",
    ]


def clan_ledgers(wildcards):
    """Where the clan chain counted what it dropped."""
    audit = "audit.tsv" if is_local() else "choose_clan_targets.audit.tsv"
    clans = config["pfam_clan"]["clans"]
    searched = [
        f"results/packages/{clan}/{shard}.ledger.tsv"
        for clan in clans
        for shard in package_shards()
    ]
    return [
        *searched,
        *(clan_file(audit).format(clan=clan) for clan in clans),
        *(f"results/families/pfam_clan/{clan}.ledger.tsv" for clan in clans),
    ]


def settings_json(wildcards):
    """The checked settings as one line."""
    return json.dumps(config, sort_keys=True)


def report_inputs(wildcards):
    """What a report is made from, by the flag of the verb `report`; experiments differ in part."""
    name = wildcards.experiment
    evaluated = evaluations(name)
    contacts = expand(
        "results/contacts/{e}/{model}.parquet",
        e=evaluated,
        model=["potts", "prior", "npm"],
    )
    nearest = list(dict.fromkeys(map(nearest_of, evaluated)))
    clans = config["pfam_clan"]["clans"]
    variants = {"uniref50": [], "pfam_clan": ablations()}
    parts = {
        "uniref50": {
            "targets": report_targets(wildcards),
            "families": training_families(wildcards),
            "ledgers": uniref50_ledgers(wildcards),
            "metrics": ["results/models/uniref50/metrics.csv"],
            **scale_tables(),
        },
        "pfam_clan": {
            "targets": clan_targets(wildcards),
            "families": expand("results/families/pfam_clan/{clan}.parquet", clan=clans),
            "ledgers": clan_ledgers(wildcards),
            "metrics": expand("results/models/{e}/npm/metrics.csv", e=evaluated),
        },
    }
    return {
        "precision": expand(
            "results/precision/{e}.parquet", e=[*evaluated, *variants[name]]
        ),
        "scores": [*contacts, *nearest],
        "alignments": list(map(families_of, evaluated)),
        "timed": [
            *expand(
                "results/contacts/{e}/{model}.report.tsv",
                e=evaluated,
                model=["potts", "prior"],
            ),
            *[path for path in pretraining_record().values() if path.endswith(".csv")],
        ],
        "settings": "results/settings.yaml",
        **parts[name],
    }


def scale_tables():
    """Depth by coverage, and test sequences in training alignments: of searched alignments only."""
    found = {"coverage_sweep": "results/depths/train.parquet"}
    if not is_local():
        found["leakage"] = "results/leakage/train_msas.audit.tsv"
    return found


def experiments():
    """The experiments for which there is data."""
    known = ["uniref50", "pfam_clan"]
    if is_local():
        return [name for name in known if config["local"][name] is not None]
    return known


def reports(wildcards):
    """The reports for which there is data."""
    return [f"reports/{name}.html" for name in experiments()]
