"""HHblits and MMseqs2 side by side on real queries: CPU seconds, depth, Meff, Potts precision.

    python benchmarks/bench_search.py RUN [--queries 200]

RUN is a folder in which the workflow has made, with config/real_uniref50.yaml,
results/structures/targets/0000.parquet, results/queries/train and the HH-suite database
results/database/built/database_a3m.ffindex. Both engines search the same sequences with the same
queries: all proteins of known structure, then training queries. What is done is not done again.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import mean, median

import pyarrow.parquet as pq
import yaml

from npm_core.files import write_text
from npm_core.queries import read_queries
from npm_core.tables import read_sizes

ENGINES = ("hhblits", "mmseqs2")
CONFIG = Path(__file__).parent.parent / "config.yaml"


def verb(*words: object) -> float:
    """Run one verb; CPU seconds of it and of every program it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "npm_core", *map(str, words)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def choose(run: Path, count: int, path: Path) -> None:
    """All targets, then training queries, as one FASTA file."""
    queries = run / "results" / "queries"
    files = [*sorted(queries.glob("targets/*.fasta")), *sorted(queries.glob("train/*.fasta"))]
    chosen = [query for file in files for query in read_queries(file, may_be_empty=True)][:count]
    write_text(path, "".join(query.fasta for query in chosen))


def search(engine: str, database: Path, folder: Path, settings: dict[str, object]) -> None:
    """Search, tabulate families, and note the CPU seconds of the search."""
    output = folder / engine
    if (output / "cpu.json").exists():
        return
    seconds = verb(
        *("search", "--engine", engine, "--queries", folder / "queries.fasta"),
        *("--database", database, "--iterations", settings["iterations"]),
        *("--e-value", settings["e_value"], "--max-length", settings["max_length"]),
        *("--scratch", output / "scratch", "--output", output / "msas"),
        *("--ledger", output / "ledger.tsv", "--threads", 1),
    )
    verb(
        *("build-families", "--msas", output / "msas", "--output", output / "families.parquet"),
        *("--ledger", output / "families.tsv"),
    )
    write_text(output / "cpu.json", json.dumps({"search": seconds}))


def precision(engine: str, folder: Path, targets: Path) -> None:
    """Fit an independent Potts model to each protein of known structure and judge it."""
    output = folder / engine
    if (output / "precision.parquet").exists():
        return
    verb(
        *("potts-contacts", "--families", output / "families.parquet", "--targets", targets),
        *("--output", output / "potts.parquet", "--report", output / "potts.tsv"),
    )
    verb(
        *("tabulate-precision", "--scores", output / "potts.parquet", "--targets", targets),
        *("--output", output / "precision.parquet"),
    )


def row(engine: str, folder: Path) -> str:
    """One line of the table."""
    output = folder / engine
    sizes = list(read_sizes(output / "families.parquet"))
    meff = pq.read_table(output / "families.parquet", columns=["meff"])["meff"].to_pylist()
    cpu = json.loads((output / "cpu.json").read_text())["search"] / len(sizes)
    depths = [depth for _, depth, _ in sizes]
    table = pq.read_table(output / "precision.parquet").to_pandas()
    chosen = table[(table["model"] == "potts") & (table["cutoff"] == "L/5")]
    judged = chosen[chosen["range"] == "long"]
    medium = chosen[chosen["range"] == "medium"]
    return (
        f"| {engine} | {len(sizes)} | {cpu:.2f} | {median(depths):g} | {mean(depths):.1f} "
        f"| {median(meff):.1f} | {mean(meff):.1f} | {medium['precision'].mean():.3f} "
        f"| {judged['precision'].mean():.3f} ({len(judged)}) |"
    )


def main() -> None:
    """Search with both engines and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--queries", type=int, default=200)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = args.run / "bench_search"
    settings = yaml.safe_load(CONFIG.read_text())["search"]
    if not (folder / "queries.fasta").exists():
        choose(args.run, args.queries, folder / "queries.fasta")
    places = {
        "hhblits": args.run / "results" / "database" / "built" / "database",
        "mmseqs2": folder / "database",
    }
    if not places["mmseqs2"].exists():
        fasta = args.run / "results" / "sources" / "uniprot"
        verb(
            *("build-database", "--engine", "mmseqs2", "--fasta", fasta),
            *("--output", places["mmseqs2"]),
        )
    for engine in ENGINES:
        search(engine, places[engine], folder, settings)
        precision(engine, folder, args.run / "results" / "structures" / "targets" / "0000.parquet")
    print(
        "| engine | queries | CPU s a query | depth, median | mean | Meff, median | mean "
        "| Potts P@L/5, medium | long (n) |\n|" + "---|" * 9
    )
    for engine in ENGINES:
        print(row(engine, folder))


if __name__ == "__main__":
    main()
