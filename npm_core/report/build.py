"""From the files of a run to a page."""

import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import yaml

from npm_core.errors import DataError
from npm_core.files import open_text
from npm_core.provenance import file_digest, git_commit
from npm_core.report import contents, inputs, pfam_clan, protein_cards, uniref50
from npm_core.report.page import Page, Record
from npm_core.report.summary import depth_order, pairs, read_precision
from npm_core.tables import read_metadata

PAGES = {"uniref50": uniref50, "pfam_clan": pfam_clan}
MADE = {name: f"reports/{name}.html" for name in PAGES}
CARD_CHARACTERS = 3_400_000
"""Of all cards of a page, so that a page of 300 targets stays below 5 MB."""

TOOLS = ("hhblits", "hhfilter", "hhsearch", "hhalign", "mmseqs")
"""Programs whose versions the tables' metadata may record."""

PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "torch", "altair", "vl-convert-python")


@dataclass(frozen=True)
class Files:
    """The files of a run that a page is made from; the verb `report` has a flag for each.

    Attributes:
        experiment: "uniref50" or "pfam_clan".
        precision: Tables of `tabulate-precision`, of each evaluation and of variants of NPM.
        targets: Structures of the targets.
        scores: Contact scores, for the maps.
        families: Those trained on, for their depths.
        ledgers: What each step dropped, and why.
        metrics: Trajectories of the trainings, in the order of `precision` where that is stamped.
        alignments: Families that the independent Potts models were fitted to, in that order.
        timed: Further tables with a column of seconds.
        settings: Of the run.
        coverage_sweep: Depths by HHfilter's coverage; None where it was not run.
        leakage: Test sequences in training alignments; None likewise.
        output: The page, or the folder of its figures, from which it links to the others.
    """

    experiment: str
    precision: Sequence[Path]
    targets: Sequence[Path]
    scores: Sequence[Path]
    families: Sequence[Path]
    ledgers: Sequence[Path]
    metrics: Sequence[Path]
    alignments: Sequence[Path]
    timed: Sequence[Path]
    settings: Path
    coverage_sweep: Path | None
    leakage: Path | None
    output: Path

    @classmethod
    def of(cls, args: Namespace) -> "Files":
        """What the command line names."""
        return cls(**{field.name: getattr(args, field.name) for field in fields(cls)})

    def __iter__(self) -> Iterator[Path]:
        """All but the families trained on, which may be terabytes."""
        yield from (*self.precision, *self.targets, *self.scores, *self.alignments)
        yield from (*self.ledgers, *self.metrics, *self.timed)
        yield from (path for path in (self.coverage_sweep, self.leakage) if path)
        yield self.settings


def build(files: Files, *, seed: int, max_cards: int) -> Page:
    """The page of one experiment.

    Args:
        files: Of the run.
        seed: Of the bootstrap.
        max_cards: Most targets that get a card.
    """
    experiment = PAGES[files.experiment]
    _, settings = _settings(files.settings)
    everything = read_precision(*files.precision)
    table, variants = (
        everything[everything["variant"] == ""],
        everything[everything["variant"] != ""],
    )
    differences = _differences(table, experiment.RANGE, experiment.CUTOFF)
    packed = inputs.build_cards(
        table,
        protein_cards.choose(differences, max_cards),
        targets=files.targets,
        scores=inputs.score_conditions(files.precision, files.scores),
        alignments=inputs.alignment_conditions(files.precision, files.alignments),
        folder=files.output.parent,
        contact_distance=float(contents.setting(settings, "precision", "contact_distance")),
    )
    read = inputs.Inputs(
        precision=table,
        variants=variants,
        runs=inputs.read_runs(files.metrics, inputs.table_stamps(files.precision)),
        depths=inputs.read_depths(files.families),
        sweep=inputs.read_sweep(files.coverage_sweep) if files.coverage_sweep else None,
        leakage=inputs.read_leakage(files.leakage) if files.leakage else None,
        cards=protein_cards.within(packed, differences, characters=CARD_CHARACTERS),
        settings=settings,
        seed=seed,
    )
    return experiment.page(read)


def record(files: Files, *, seed: int, command: Sequence[str]) -> Record:
    """How the run went that a page is about.

    Args:
        files: Of the run; each is read whole, for its digest, but for the families trained on.
        seed: Of the bootstrap.
        command: That made the page, for its footer.
    """
    text, settings = _settings(files.settings)
    return Record(
        drops=[*inputs.read_drops(files.ledgers), *inputs.left_out(files.precision)],
        settings=text,
        provenance=_provenance(files, settings, seed, command),
        inputs=[*map(_described, files), *_families(files.families)],
        hours=inputs.read_hours([*files.ledgers, *files.timed, *files.metrics]),
        command=f"snakemake {MADE[files.experiment]}",
    )


def _settings(path: Path) -> tuple[str, dict]:
    with open_text(path) as stream:
        text = stream.read()
    try:
        settings = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not YAML ({error})") from error
    if not isinstance(settings, dict):
        raise DataError(f"{path}: expected settings by name, found {type(settings).__name__}")
    return text, settings


def _differences(table: pd.DataFrame, range_name: str, cutoff: str) -> pd.Series:
    """NPM minus independent Potts at the shallowest depth, by id of those that have both."""
    rows = contents.among(table, range=range_name, cutoff=cutoff)
    shallow = depth_order(rows["condition"].tolist())[:1]
    both = pairs(rows[rows["condition"].isin(shallow)], "potts").drop_duplicates("id")
    return both.set_index("id")["difference"]


def _provenance(
    files: Files, settings: dict, seed: int, command: Sequence[str]
) -> list[tuple[str, str]]:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    tables = [path for path in (*files, *files.families) if path.suffix == ".parquet"]
    recorded = [read_metadata(path) for path in tables]
    tools = {str(facts[tool]) for facts in recorded for tool in TOOLS if tool in facts}
    return [
        ("version", f"neural-potts-model {version('neural-potts-model')}"),
        ("commit", git_commit()),
        ("command", shlex.join(command)),
        ("settings", f"{files.settings}, sha256 {file_digest(files.settings)[:16]}"),
        ("seeds", f"run {settings.get('seed', 'not in the settings')}, bootstrap {seed}"),
        ("Python", sys.version.split()[0]),
        ("packages", packages),
        ("tools", ", ".join(sorted(tools)) or "none recorded in the tables"),
    ]


def _described(path: Path) -> dict[str, str]:
    return {"path": str(path), "digest": file_digest(path)[:16], "made": _made(path)}


def _families(paths: Sequence[Path]) -> list[dict[str, str]]:
    """One line for all tables: at the paper's scale they are terabytes.

    The model's record identifies the families by their ids, lengths and Meff.
    """
    if not paths:
        return []
    several = f" to {paths[-1]}, {len(paths)} tables" if len(paths) > 1 else ""
    size = sum(path.stat().st_size for path in paths)
    return [{"path": f"{paths[0]}{several}", "digest": f"{size:,} bytes", "made": _made(paths[0])}]


def _made(path: Path) -> str:
    """What a table's metadata says of its making."""
    facts = read_metadata(path) if path.suffix == ".parquet" else {}
    kept = {key: value for key, value in facts.items() if key not in ("pandas", "ARROW:schema")}
    return "; ".join(f"{key} {value}" for key, value in kept.items())
