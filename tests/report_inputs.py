"""The files of a small run, made up: what the report is tested and looked at with."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from npm_core.files import write_text
from npm_core.provenance import provenance
from npm_core.tables import Scores, Target, write_scores, write_targets
from npm_core.tabulation import (
    count_left_out,
    index_scores,
    precision_rows,
    write_precision,
)

HOSTILE = "<script>alert(1)</script>"
SETTINGS = {
    "seed": 1,
    "families": {"identity_threshold": 0.8},
    "potts": {"objective": "ccmpred", "stop_rel": 1e-4, "centre": "none"},
    "precision": {"contact_distance": 8.0},
}
MEFFS = (3.0, 9.0, 14.0, 30.0, 200.0, 900.0)
"""Bin (50, 100] stays empty."""


def fold(name: str, split: str, length: int, rng: np.random.Generator) -> Target:
    """A compact random chain; a few residues are unresolved."""
    steps = rng.normal(size=(length, 3))
    walk = np.zeros((length, 3))
    for k in range(1, length):
        step = steps[k] - 0.02 * walk[k - 1]
        walk[k] = walk[k - 1] + 3.8 * step / np.linalg.norm(step)
    walk[4:7] = np.nan
    letters = rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), size=length)
    return Target(name, split, "".join(letters), walk.astype(np.float32), f"{name}_A")


def guess(
    target: Target,
    model: str,
    quality: float,
    depth: int,
    meff: float,
    rng: np.random.Generator,
    *,
    judged: bool = False,
) -> Scores:
    """Scores that know the contacts the better the higher `quality` is, as does the loss."""
    near = np.nan_to_num(target.distances, nan=99.0) <= 8.0
    noise = rng.normal(size=near.shape)
    matrix = (quality * near + noise + noise.T).astype(np.float32)
    np.fill_diagonal(matrix, 0.0)
    loss = 3 - quality + rng.normal() / 9 if judged and model in ("potts", "npm") else None
    if model == "potts":
        return Scores(target.id, model, matrix, depth, meff, loss)
    return Scores(target.id, model, matrix, generalisation_loss=loss)


def qualities(meff: float) -> dict[str, float]:
    """How well each model does: Potts gains with depth, NPM does not need it."""
    return {
        "potts": 0.6 * np.log10(1 + meff),
        "npm": 1.1,
        "nearest": 0.6,
        "npm_shuffled": 0.1,
    }


def write_scored(
    folder: Path,
    targets: list[Target],
    meffs: list[float],
    columns: dict[str, str],
    rng: np.random.Generator,
    models: tuple[str, ...],
) -> dict[str, list[Path]]:
    """Score tables and the precision table made from them."""
    paths = []
    judged = columns.get("reduced_depth", "full") != "full"
    for model in models:
        path = folder / f"{model}.parquet"
        guesses = [
            guess(target, model, qualities(meff)[model], int(2 * meff), meff, rng, judged=judged)
            for target, meff in zip(targets, meffs, strict=True)
        ]
        write_scores(path, guesses, {})
        paths.append(path)
    known = {target.id: target for target in targets}
    scored = index_scores(*paths)
    table = folder / "precision.parquet"
    write_precision(
        table,
        precision_rows(_read(paths), known, scored.get("potts", {}), contact_distance=8.0),
        columns=columns,
        metadata=provenance(columns=columns, scores=[str(path) for path in paths]),
        left_out=count_left_out(known, scored),
    )
    return {"scores": paths, "precision": [table]}


def _read(paths: list[Path]) -> Iterator[Scores]:
    from npm_core.tables import read_scores

    return read_scores(*paths)


def write_uniref50(
    folder: Path,
    *,
    targets: int = 24,
    length: int = 60,
    models: tuple[str, ...] = ("potts", "npm", "nearest", "npm_shuffled"),
    seed: int = 0,
) -> dict[str, list[Path]]:
    """The inputs of `report --experiment uniref50` by flag."""
    rng = np.random.default_rng(seed)
    names = [HOSTILE, *(f"UniRef50_{k:03d}" for k in range(1, targets))]
    folds = [
        fold(name, "test" if k % 3 == 0 else "train", length + int(rng.integers(length)), rng)
        for k, name in enumerate(names)
    ]
    meffs = [MEFFS[int(rng.integers(len(MEFFS)))] * (0.8 + 0.2 * rng.random()) for _ in folds]
    made = write_scored(folder, folds, meffs, {}, rng, models)
    return made | write_common(folder, folds, rng) | write_audits(folder, rng)


SWEEP = {20: 0.2, 80: 0.4}
"""Share of alignments at most ten deep at each coverage."""


def write_audits(folder: Path, rng: np.random.Generator) -> dict[str, list[Path]]:
    """Depths by coverage, and what of the test set is in training alignments."""
    sweep, leakage = folder / "sweep.parquet", folder / "train_msas.audit.tsv"
    rows = [
        {"id": f"q{k}", "coverage": coverage, "depth": int(rng.integers(1, 11))}
        if k < 100 * share
        else {"id": f"q{k}", "coverage": coverage, "depth": int(10 ** rng.uniform(1.1, 4))}
        for coverage, share in SWEEP.items()
        for k in range(100)
    ]
    pq.write_table(pa.Table.from_pylist(rows), sweep)
    lines = ["status\treason\tcount"]
    for name, inside, outside in (("test sequences", 30, 70), ("test targets", 1, 3)):
        lines += [f"row of a training alignment\t{name}\t{inside}"]
        lines += [f"in no training alignment\t{name}\t{outside}"]
    write_text(leakage, "\n".join(lines) + "\n")
    return {"coverage-sweep": [sweep], "leakage": [leakage]}


def write_pfam(
    folder: Path, *, clans: int = 2, rounds: int = 2, families: int = 5, seed: int = 0
) -> dict[str, list[Path]]:
    """The inputs of `report --experiment pfam_clan` by flag."""
    rng = np.random.default_rng(seed)
    made: dict[str, list[Path]] = {"scores": [], "precision": []}
    everything = []
    for clan in ("NADP_Rossmann", "P-loop_NTPase", "HTH")[:clans]:
        for number in range(rounds):
            names = [f"PF{clan[0]}{number}{k:03d}" for k in range(families)]
            folds = [fold(name, clan, 60 + int(rng.integers(40)), rng) for name in names]
            everything += folds
            for depth in ("10", "100", "full"):
                meff = {"10": 8.0, "100": 60.0, "full": 700.0}[depth]
                columns = {"clan": clan, "round": str(number), "reduced_depth": depth}
                place = folder / clan / str(number) / depth
                models = ("potts", "npm", "nearest", "npm_shuffled")
                one = write_scored(place, folds, [meff] * len(folds), columns, rng, models)
                for flag, paths in one.items():
                    made[flag] += paths
    common = write_common(folder, everything, rng)
    metrics, alignments = [], []
    for path in made["precision"]:
        copy = path.parent / "metrics.csv"
        write_text(copy, common["metrics"][0].read_text())
        metrics.append(copy)
        alignments.append(path.parent / "alignments.parquet")
        write_ids(alignments[-1], set(pq.read_table(path)["id"].to_pylist()))
    return made | common | {"metrics": metrics, "alignments": alignments}


def write_ids(path: Path, ids: set[str]) -> None:
    """As much of a families table as the report reads: ids and depths."""
    table = pa.table({"id": sorted(ids), "depth": [12] * len(ids)})
    pq.write_table(table, path)


def write_common(
    folder: Path, folds: list[Target], rng: np.random.Generator
) -> dict[str, list[Path]]:
    """Targets, a ledger, an audit, training metrics and settings."""
    targets, ledger, audit = (folder / name for name in ("t.parquet", "0000.ledger.tsv", "a.tsv"))
    write_targets(targets, folds, {})
    write_text(
        ledger,
        "query\tstatus\treason\tdepth\tseconds\n"
        "q1\tok\t\t12\t1.0\nq2\tok\t\t3\t1.0\nq3\tskipped\tlonger than 2000\t0\t0.0\n"
        f"{HOSTILE}\tfailed\ttimeout <b>after</b> 600 s\t0\t600.0\n",
    )
    timed, alignments = folder / "potts.report.tsv", folder / "alignments.parquet"
    write_text(timed, "id\tseconds_setup\tseconds_fit\na\t600\t1200\nb\t0\t1800\n")
    write_ids(alignments, {fold.id for fold in folds})
    write_text(audit, "id\tstatus\treason\n1abc\tdiscarded\thits both sets\n")
    lines = ["step,epoch,pseudolikelihood,validation_pseudolikelihood"]
    for step in range(0, 401, 20):
        loss = 2 + np.exp(-step / 120) + 0.02 * rng.normal()
        held = f"{loss + 0.2:.4f}" if step % 100 == 0 else ""
        lines.append(f"{step},{step / 40:g},{loss:.4f},{held}")
    metrics, settings = folder / "metrics.csv", folder / "settings.yaml"
    write_text(metrics, "\n".join(lines) + "\n")
    write_text(settings, yaml.safe_dump(SETTINGS))
    return {
        "targets": [targets],
        "ledgers": [ledger, audit],
        "metrics": [metrics],
        "timed": [timed],
        "alignments": [alignments],
        "families": [alignments],
        "settings": [settings],
    }


def flags(made: dict[str, list[Path]]) -> list[str]:
    """The inputs as arguments of the verb `report`."""
    words = []
    for flag, paths in made.items():
        words += [f"--{flag}", *map(str, paths)]
    return words


def main() -> None:
    """Write both reports into a folder, to look at."""
    from npm_core.cli import main as npm

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--targets", type=int, default=60)
    parser.add_argument("--length", type=int, default=80)
    args = parser.parse_args()
    made = write_uniref50(args.folder / "u", targets=args.targets, length=args.length)
    page = str(args.folder / "uniref50.html")
    npm(["report", "--experiment", "uniref50", *flags(made), "--output", page])
    made = write_pfam(args.folder / "p")
    page = str(args.folder / "pfam_clan.html")
    npm(["report", "--experiment", "pfam_clan", *flags(made), "--output", page])


if __name__ == "__main__":
    main()
