"""A trained model judged on the real proteins of NPM_REAL_DATA: PDB chains, Pfam families, clans.

    NPM_REAL_DATA=FOLDER python benchmarks/real_evaluation.py DIR --trained-on FASTA
        [--checkpoint CHECKPOINT] [--workers N]

prints, for each of the three sets, long-range P@L/5 of NPM and of what it is compared with, by bins
of Meff. "train" are proteins at least 30 % identical to a sequence of FASTA, what the model learned
from (results/queries/train.fasta of its run), "test" all others. What is done is not done again.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import yaml
from real_mirror import similar
from real_tables import clan_columns, entry_and_chain, manifest, structure_map

from npm_core.cli.predict import SMALL_MODEL
from npm_core.ffindex import write_entries
from npm_core.files import open_text
from npm_core.local_data import (
    ImportedFamily,
    LocalFamily,
    a3m_text,
    aligned_to_target,
    import_anchored,
    import_unanchored,
    write_audit,
)
from npm_core.progress import track
from npm_core.provenance import provenance
from npm_core.queries import read_queries
from npm_core.report import model_card
from npm_core.tables import write_targets

SETS = ("pdb_sprot", "pfam40", "clans")

MAX_ROWS = 20_000
"""Of a family: the deepest alignments would be most of the work."""

MIN_RESOLVED = 0.0
"""Every structure counts: docs/results.md has one of which 27 % is resolved."""

CONFIG = Path(__file__).parent.parent / "config.yaml"


def verb(*words: object) -> None:
    """Run one verb."""
    subprocess.run([sys.executable, "-m", "npm_core", *map(str, words)], check=True)


def indices(path: Path) -> list[tuple[str, str]]:
    """Letter and alignment column (from 1) of each mapped residue of a Pfam family's structure."""
    with open_text(path) as stream:
        lines = [line.split() for line in stream]
    return [(letter, str(int(column) + 1)) for column, letter, *_ in lines]


def families(data: Path, name: str, folder: Path) -> Iterator[ImportedFamily]:
    """The proteins of known structure of one set, with their alignments."""
    for entry in manifest(data, name):
        alignment, *structures = (data / file for file in entry["files"].split(";"))
        if not structures:
            continue
        structure = structures[0]
        family = LocalFamily(entry["id"], alignment, structure=structure)
        if name == "pdb_sprot":
            chain = entry["id"].partition("_")[2]
            yield import_anchored(
                replace(family, chain=chain), test_share=0.0, salt="", min_resolved=MIN_RESOLVED
            )
            continue
        _, chain = entry_and_chain(structure)
        columns = folder / "columns" / f"{entry['id']}.tsv"
        mapped = (indices if name == "pfam40" else clan_columns)(structures[1])
        structure_map(mapped, structure, chain, columns)
        family = replace(family, chain=chain, columns=columns)
        yield import_unanchored(family, max_rows=MAX_ROWS, min_resolved=MIN_RESOLVED)


def prepare(data: Path, name: str, trained_on: Path, folder: Path) -> None:
    """Targets, and their alignments, of one set."""
    if (folder / "targets.parquet").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(";" in entry["files"] for entry in manifest(data, name))
    imported = list(track(families(data, name, folder), total=total, what=f"families of {name}"))
    write_audit(folder / "audit.tsv", imported)
    write_entries(
        folder / "msas",
        ((one.id, a3m_text(aligned_to_target(one))) for one in imported if one.target),
    )
    found = [one.target for one in imported if one.target]
    seen = similar(
        {target.id: target.sequence for target in found},
        {query.id: query.sequence for query in read_queries(trained_on)},
        folder,
        side="query",
    )
    targets = [replace(target, split="train" if target.id in seen else "test") for target in found]
    write_targets(folder / "targets.parquet", targets, provenance())


def judge(folder: Path, checkpoint: Path, workers: int) -> pd.DataFrame:
    """The precision table of one set."""
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    targets, built = folder / "targets.parquet", folder / "families.parquet"
    at_work = ("--workers", workers)
    fitted = ("--families", built, "--targets", targets, *at_work)
    shrunk = [
        word
        for key, value in settings["prior"].items()
        for word in (f"--prior-{key.replace('_', '-')}", value)
    ]
    steps: dict[str, tuple[object, ...]] = {
        "families.parquet": (
            *("build-families", "--msas", folder / "msas", *at_work),
            *("--ledger", folder / "ledger.tsv"),
        ),
        "potts.parquet": ("potts-contacts", *fitted, "--report", folder / "potts.tsv"),
        "prior.parquet": (
            *("prior-contacts", *fitted, "--report", folder / "prior.tsv"),
            *("--checkpoint", checkpoint, *shrunk),
        ),
        "npm.parquet": (
            *("npm-contacts", "--targets", targets, "--checkpoint", checkpoint),
            *("--model", "npm", "--shuffle-seed", settings["seed"]),
        ),
        "precision.parquet": (
            *("tabulate-precision", "--targets", targets, "--scores"),
            *(folder / f"{model}.parquet" for model in ("potts", "prior", "npm")),
        ),
    }
    for name, words in steps.items():
        if not (folder / name).exists():
            verb(*words, "--output", folder / name)
    return pd.read_parquet(folder / "precision.parquet")


def main() -> None:
    """Judge the model on each set and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--trained-on", type=Path, required=True, metavar="FASTA")
    parser.add_argument("--checkpoint", type=Path, default=SMALL_MODEL)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    if not os.environ.get("NPM_REAL_DATA"):
        parser.error("set NPM_REAL_DATA to the folder of real proteins")
    data = Path(os.environ["NPM_REAL_DATA"]).resolve()
    tables = {}
    for name in SETS:
        folder = args.output / name
        prepare(data, name, args.trained_on, folder)
        tables[name] = judge(folder, args.checkpoint, args.workers)
    for name, table in {**tables, "all": pd.concat(tables.values())}.items():
        header, *rows = model_card.results(table, seed=0)
        print(f"\n{name}\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
        for row in rows:
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
