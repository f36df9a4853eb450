"""Where the files of a run lie: for the rules whose inputs depend on settings or on an evaluation.

An output is named by its rule alone. What is named here is what other rules read of it.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

DATASETS = ("train", "test", "targets")
EXPERIMENTS = ("uniref50", "pfam_clan")
LEFT_OUT = "0"
"""The depth of a bucket that NPM is trained without: it stands for no reduction."""


def is_imported(config: dict[str, Any]) -> bool:
    """Whether the user's own alignments and structures take the place of database search."""
    return config["source"] in ("local", "packages")


@dataclass(frozen=True)
class Uniref50Evaluation:
    """A shard of the proteins of known structure (4.2); as text the wildcard `evaluation`."""

    shard: str
    imported: bool = False

    # NPM is trained once, and no bucket of families is ever kept from it.
    leaves_bucket_out = False

    def __str__(self) -> str:
        return f"uniref50/{self.shard}"

    @property
    def targets(self) -> str:
        """Proteins of known structure."""
        if self.imported:
            return "results/imported/uniref50/targets.parquet"
        return f"results/structures/targets/{self.shard}.parquet"

    @property
    def families(self) -> str:
        """Alignments of the targets, to which the independent Potts model is fitted."""
        return f"results/families/uniref50/targets/{self.shard}.parquet"

    @property
    def test_rows(self) -> list[str]:
        """Rows that no model was made from: none, as the Potts model gets the whole alignment."""
        return []

    @property
    def neighbours(self) -> str:
        """The nearest training family of every target, of this shard and of the others."""
        return "results/neighbours/uniref50.parquet"

    @property
    def nearest(self) -> str:
        """Contact scores of the nearest neighbour."""
        return f"results/contacts/{self}/nearest.parquet"

    @property
    def metrics(self) -> str:
        """Trajectory of the training of NPM."""
        return "results/models/uniref50/metrics.csv"

    @property
    def columns(self) -> list[str]:
        """What every row of the precision table carries, as NAME=VALUE."""
        return []

    def model(self, name: str = "npm") -> str:
        """Weights of the Neural Potts Model; there is one of UniRef50."""
        return "results/models/uniref50/model.safetensors"

    def sisters(self, model: str) -> list[str]:
        """Tables of the sister control, which is of clans."""
        return []

    def without(self, rounds: Container[int]) -> list[str]:
        """Scores of NPM trained without the evaluation bucket, of which UniRef50 has none."""
        return []


@dataclass(frozen=True)
class ClanEvaluation:
    """A clan's evaluation bucket in one round (4.1); as text the wildcard `evaluation`.

    `depth` is the rows that its alignments are reduced to, "full" where they are whole, and
    LEFT_OUT for the control in which NPM is trained without the bucket.
    """

    clan: str
    round: str
    depth: str = "full"

    def __str__(self) -> str:
        return f"pfam_clan/{self.clan}/{self.round}/{self.depth}"

    @property
    def leaves_bucket_out(self) -> bool:
        """Whether this is NPM trained without the bucket."""
        return self.depth == LEFT_OUT

    @property
    def reduction(self) -> str:
        """Folder of the bucket at this depth; a bucket that is left out is so whole."""
        depth = "full" if self.leaves_bucket_out else self.depth
        return f"results/reductions/{self.clan}/{self.round}/{depth}"

    @property
    def targets(self) -> str:
        """Proteins of known structure."""
        return f"{self.reduction}/targets.parquet"

    @property
    def families(self) -> str:
        """Alignments of the targets, to which the independent Potts model is fitted."""
        return f"{self.reduction}/target_msas.parquet"

    @property
    def test_rows(self) -> list[str]:
        """Rows of the targets' families that the reduction leaves out."""
        return [f"{self.reduction}/test_rows.parquet"]

    @property
    def reduced(self) -> str:
        """The bucket's families, with targets or without, as NPM is trained on them."""
        return f"{self.reduction}/reduced.parquet"

    @property
    def watched(self) -> list[str]:
        """The targets' reduced alignments, whose loss is watched beside that of the whole ones."""
        return [] if self.leaves_bucket_out else [self.families]

    @property
    def clan_families(self) -> str:
        """Every family of the clan."""
        return f"results/families/pfam_clan/{self.clan}.parquet"

    @property
    def neighbours(self) -> str:
        """The nearest family of each target outside the round's bucket."""
        return f"results/neighbours/pfam_clan/{self.clan}/{self.round}.parquet"

    @property
    def nearest(self) -> str:
        """Contact scores of the nearest neighbour: those of a round serve all its depths."""
        return f"results/contacts/pfam_clan/{self.clan}/{self.round}/nearest.parquet"

    @property
    def metrics(self) -> str:
        """Trajectory of the training of NPM."""
        return f"results/models/{self}/npm/metrics.csv"

    @property
    def columns(self) -> list[str]:
        """What every row of the precision table carries, as NAME=VALUE."""
        return [f"clan={self.clan}", f"round={self.round}", f"reduced_depth={self.depth}"]

    def model(self, name: str = "npm") -> str:
        """Weights of the Neural Potts Model, or of another head of Figure 8."""
        return f"results/models/{self}/{name}/model.safetensors"

    def sisters(self, model: str) -> list[str]:
        """Tables of the sister control: the targets' nearest families, and the families."""
        if self.leaves_bucket_out or model != "npm":
            return []
        return [self.neighbours, self.clan_families]

    def without(self, rounds: Container[int]) -> list[str]:
        """Scores of NPM trained without the evaluation bucket, in the `rounds` that train one."""
        if int(self.round) not in rounds:
            return []
        control = ClanEvaluation(self.clan, self.round, LEFT_OUT)
        return [f"results/contacts/{control}/npm.parquet"]

    def validation(self, buckets: int, depth: int | str = "full") -> "ClanEvaluation":
        """The bucket that settings are chosen on: the next one, which trains in this round."""
        return ClanEvaluation(self.clan, str((int(self.round) + 1) % buckets), str(depth))


Evaluation = Uniref50Evaluation | ClanEvaluation


def parse(place: str, imported: bool = False) -> Evaluation:
    """The evaluation that the wildcard `evaluation` names, or `group`, which has no depth."""
    experiment, *parts = place.split("/")
    if experiment == "uniref50":
        (shard,) = parts
        return Uniref50Evaluation(shard, imported)
    return ClanEvaluation(*parts)


class Places:
    """Where the files lie that settings decide on."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.imported = is_imported(config)

    def evaluation(self, place: str) -> Evaluation:
        """The evaluation that the wildcard `evaluation` or `group` names."""
        return parse(place, self.imported)

    def evaluations(self, experiment: str) -> list[Evaluation]:
        """Every evaluation of one experiment."""
        if experiment == "uniref50":
            shards = self.shards("targets")
            return [Uniref50Evaluation(shard, self.imported) for shard in shards]
        return self._clan_evaluations("depths")

    def ablations(self) -> list[str]:
        """Every evaluation of another head (Figure 8), with its name."""
        heads = self.config["pfam_clan"]["ablations"]
        return [
            f"{evaluation}/{head}"
            for evaluation, head in product(self._clan_evaluations("ablation_depths"), heads)
        ]

    def _clan_evaluations(self, depths: str) -> list[Evaluation]:
        clans = self.config["pfam_clan"]
        places = product(clans["clans"], range(clans["rounds"]), clans[depths])
        return [ClanEvaluation(clan, str(number), str(depth)) for clan, number, depth in places]

    def experiments(self) -> list[str]:
        """The experiments for which there is data."""
        local = self.config["local"]
        return [name for name in EXPERIMENTS if not self.imported or local[name] is not None]

    def shards(self, dataset: str) -> list[str]:
        """Names of the shards of queries; imported alignments are one."""
        count = 1 if self.imported else self.config["queries"]["shards"][dataset]
        return [f"{number:04d}" for number in range(count)]

    def uniref50_fasta(self) -> str:
        """UniRef50 as it is published, or taken out of its archive."""
        packed = self.config["sources"]["uniref50_member"] is not None
        return "results/unpacked/uniref50.fasta.gz" if packed else "results/sources/uniref50"

    def optional_indexes(self) -> dict[str, str]:
        """What the selection of structures reads besides the archive's two index files."""
        sources = self.config["sources"]
        indexes = {}
        if sources["pdb_obsolete"]:
            indexes["obsolete"] = "results/sources/pdb_obsolete"
        if sources["pdb_search"]:
            indexes["hits"] = "results/sources/pdb_hits"
        return indexes

    def search_database(self) -> list[str]:
        """The search engine's database: a folder, or for HHblits files, built or published."""
        if self.config["search"]["engine"] == "mmseqs2":
            return ["results/database/mmseqs2"]
        prefix = f"results/database/{'built' if self.config['database']['build'] else 'unpacked'}"
        return [*ffindex(f"{prefix}/database_a3m"), *ffindex(f"{prefix}/database_cs219")]

    def msas(self, dataset: str, shard: str) -> list[str]:
        """One shard's alignments (FFindex of A3M): by search, or the user's own."""
        place = f"imported/uniref50/{dataset}" if self.imported else f"msas/{dataset}/{shard}"
        return ffindex(f"results/{place}")

    def training_msas(self) -> dict[str, list[str]]:
        """All alignments of training sequences: `data` and `index`."""
        pairs = (self.msas("train", shard) for shard in self.shards("train"))
        data, index = zip(*pairs, strict=True)
        return {"data": list(data), "index": list(index)}

    def families(self, dataset: str) -> list[str]:
        """Families of the UniRef50 experiment: one table a shard."""
        shards = self.shards(dataset)
        return [f"results/families/uniref50/{dataset}/{shard}.parquet" for shard in shards]

    def training_families(self, experiment: str) -> list[str]:
        """Tables of the families that NPM is trained on; of a clan less its evaluation bucket."""
        if experiment == "uniref50":
            return self.families("train")
        clans = self.config["pfam_clan"]["clans"]
        return [f"results/families/pfam_clan/{clan}.parquet" for clan in clans]

    def nearest_families(self, group: str) -> list[str]:
        """Families among which neighbours were looked for; UniRef50's after their list."""
        evaluation = self.evaluation(group)
        if isinstance(evaluation, ClanEvaluation):
            return [evaluation.clan_families]
        return ["results/lists/train_families.args", *self.families("train")]

    def clan_file(self, name: str) -> str:
        """Pattern of a clan's file `name`, cut from Pfam or imported."""
        return f"results/{'imported' if self.imported else 'clans'}/{{clan}}/{name}"

    def package_shards(self) -> list[str]:
        """Shards of the search for a clan's families; none where the source does not search."""
        searched = self.config["source"] == "packages"
        count = self.config["packages"]["shards"] if searched else 0
        return [f"{number:04d}" for number in range(count)]

    def searched_families(self, clan: str) -> list[str]:
        """FFindexes of the families found for a clan."""
        prefixes = (f"results/packages/{clan}/{shard}" for shard in self.package_shards())
        return [path for prefix in prefixes for path in ffindex(prefix)]

    def pretraining_sequences(self) -> str | list[str]:
        """What the language model learns from: the user's FASTA, or UniRef50's training split."""
        if self.imported:
            return self.config["local"]["sequences"]
        return self.config["npm"]["pretraining_sequences"] or "results/queries/train.fasta"

    def test_queries(self) -> list[str]:
        """The folder of test queries, on whose first shard the language model is watched.

        There is none where it learns from sequences of the user's own.
        """
        own = self.imported or self.config["npm"]["pretraining_sequences"]
        return [] if own else ["results/queries/test"]

    def pretrained_trunks(self) -> dict[str, dict[str, Any]]:
        """The trunks, by name, that a run makes: those of its experiments that are not given."""
        npm = self.config["npm"]
        named = {npm[experiment]["trunk"] for experiment in self.experiments()}
        return {
            name: trunk
            for name, trunk in npm["trunks"].items()
            if name in named and trunk["checkpoint"] is None
        }

    def initial_trunk(self, experiment: str) -> str:
        """Weights that an experiment's trainings begin with: pretrained, or the user's own."""
        name = self.config["npm"][experiment]["trunk"]
        given = self.config["npm"]["trunks"][name]["checkpoint"]
        return f"{given or f'results/models/pretrained/{name}'}/model.safetensors"

    def pretraining_record(self, experiment: str) -> dict[str, str]:
        """The record of the pretraining of an experiment's trunk, where there is one."""
        name = self.config["npm"][experiment]["trunk"]
        if name not in self.pretrained_trunks():
            return {}
        folder = f"results/models/pretrained/{name}"
        return {
            "pretrained": f"{folder}/model.safetensors",
            "pretraining": f"{folder}/metrics.csv",
        }

    def chosen_settings(self, clan: str, number: str) -> list[str]:
        """The record of the settings chosen for a round, where there is a grid to choose from."""
        if not self.config["pfam_clan"]["selection"]["grid"]:
            return []
        return [f"results/selection/{clan}/{number}.json"]

    def targets(self, experiment: str) -> list[str]:
        """Every table of proteins of known structure of one experiment."""
        if experiment == "uniref50":
            return [evaluation.targets for evaluation in self.evaluations("uniref50")]
        clans = self.config["pfam_clan"]["clans"]
        return [self.clan_file("targets.parquet").format(clan=clan) for clan in clans]

    def ledgers(self, experiment: str) -> list[str]:
        """Where the chain of one experiment counted what it dropped, in the chain's order."""
        return self._clan_ledgers() if experiment == "pfam_clan" else self._uniref50_ledgers()

    def _uniref50_ledgers(self) -> list[str]:
        places = [f"{dataset}/{shard}" for dataset in DATASETS for shard in self.shards(dataset)]
        built = [f"results/families/uniref50/{place}.ledger.tsv" for place in places]
        if self.imported:
            return ["results/imported/uniref50/audit.tsv", *built]
        shards = self.shards("targets")
        return [
            "results/structures/select_structures.audit.tsv",
            "results/structures/assign_structures.audit.tsv",
            *(f"results/structures/targets/{shard}.audit.tsv" for shard in shards),
            *(f"results/msas/{place}.ledger.tsv" for place in places),
            *built,
            "results/leakage/train_msas.audit.tsv",
        ]

    def _clan_ledgers(self) -> list[str]:
        audit = self.clan_file("audit.tsv" if self.imported else "choose_clan_targets.audit.tsv")
        clans = self.config["pfam_clan"]["clans"]
        searched = product(clans, self.package_shards())
        return [
            *(f"results/packages/{clan}/{shard}.ledger.tsv" for clan, shard in searched),
            *(audit.format(clan=clan) for clan in clans),
            *(f"results/families/pfam_clan/{clan}.ledger.tsv" for clan in clans),
        ]

    def report_inputs(self, experiment: str) -> dict[str, str | list[str]]:
        """What a report is made from, by the flag of the verb `report`."""
        evaluations = self.evaluations(experiment)
        folders = [f"results/contacts/{evaluation}" for evaluation in evaluations]
        variants = self.ablations() if experiment == "pfam_clan" else []
        pretraining = self.pretraining_record(experiment)
        inputs: dict[str, str | list[str]] = {
            "precision": [
                f"results/precision/{place}.parquet" for place in (*evaluations, *variants)
            ],
            "scores": [
                *(f"{folder}/{m}.parquet" for folder in folders for m in ("potts", "prior", "npm")),
                *distinct(evaluation.nearest for evaluation in evaluations),
            ],
            "alignments": [evaluation.families for evaluation in evaluations],
            "timed": [
                *(f"{folder}/{m}.report.tsv" for folder in folders for m in ("potts", "prior")),
                *(path for name, path in pretraining.items() if name == "pretraining"),
            ],
            "settings": "results/settings.yaml",
            "targets": self.targets(experiment),
            "families": self.training_families(experiment),
            "ledgers": self.ledgers(experiment),
            "metrics": distinct(evaluation.metrics for evaluation in evaluations),
        }
        if experiment == "uniref50":
            inputs["coverage_sweep"] = "results/depths/train.parquet"
            # Imported alignments are held out by their table, whatever sequences they hold.
            if not self.imported:
                inputs["leakage"] = "results/leakage/train_msas.audit.tsv"
        return inputs


def ffindex(prefix: str) -> list[str]:
    """Both files of an FFindex: a rule that reads it names both, and takes the prefix from one."""
    return [f"{prefix}.ffdata", f"{prefix}.ffindex"]


def distinct(paths: Iterable[str]) -> list[str]:
    """Each path once, in the order of its first appearance."""
    return list(dict.fromkeys(paths))
