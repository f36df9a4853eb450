"""Jobs, CPU hours, bytes and memory of a run at the paper's scale, from what is measured here.

    python benchmarks/scale_model.py RUN [--sequences 30000000 --database-columns 3e9 ...]

RUN is a folder in which the workflow has run with config/real_uniref50.yaml, the HH-suite database
(results/database/built/database_a3m.ffindex) included. Measured: HHblits' CPU seconds on it; what
its prefilter takes for each query residue and database column (shuffled queries, which hit
nothing, against that database and against one with each cluster --copies times); its peak memory;
bytes of alignments and families. How many sequences of UniRef50 are searched with, and in how many
shards, config/paper.yaml says; the few targets are not counted. Everything else is an option with
its unit; nothing about the paper's databases is known to this script.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from npm_core import ffindex
from npm_core.programs import program
from npm_core.queries import read_queries
from npm_core.tables import read_sizes

CONFIG = Path(__file__).parent.parent / "config" / "paper.yaml"


def hhblits(sequence: str, database: Path, iterations: int) -> tuple[float, float]:
    """CPU seconds and peak GiB of one search by one thread."""
    with tempfile.TemporaryDirectory() as name:
        query = Path(name, "query.fasta")
        query.write_text(f">query\n{sequence}\n", encoding="ascii")
        argv = [program("hhblits"), "-i", str(query), "-d", str(database), "-o", os.devnull]
        argv += ["-oa3m", os.devnull, "-n", str(iterations), "-e", "0.001", "-cpu", "1", "-v", "0"]
        process = subprocess.Popen(argv)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"hhblits: exit status {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def enlarged(database: Path, copies: int, folder: Path) -> Path:
    """The same database with each cluster under `copies` names; the data is not copied."""
    for part in ("a3m", "cs219"):
        source, target = f"{database}_{part}", folder / f"large_{part}"
        ffindex.data_path(target).symlink_to(ffindex.data_path(source).resolve())
        lines = sorted(
            f"{entry.key}c{copy}\t{entry.offset}\t{entry.length}\n"
            for entry in ffindex.read_index(source)
            for copy in range(copies)
        )
        ffindex.index_path(target).write_text("".join(lines), encoding="ascii")
    return folder / "large"


def columns(database: Path) -> int:
    """Match columns of a database: one letter of cs219 each."""
    return sum(entry.length - 1 for entry in ffindex.read_index(f"{database}_cs219"))


def measure(run: Path, searches: int, copies: int) -> dict[str, float]:
    """What the model needs, by name and unit."""
    database = (run / "results" / "database" / "built" / "database").resolve()
    rng = random.Random(1)
    files = sorted((run / "results" / "queries" / "train").glob("*.fasta"))
    queries = [query for path in files[:2] for query in read_queries(path, may_be_empty=True)]
    chosen = rng.sample(queries, searches)
    real = [hhblits(query.sequence, database, 3) for query in chosen]
    shuffled = ["".join(rng.sample(query.sequence, len(query.sequence))) for query in chosen]
    residues = sum(map(len, shuffled))
    small = sum(hhblits(sequence, database, 1)[0] for sequence in shuffled)
    with tempfile.TemporaryDirectory() as name:
        big = enlarged(database, copies, Path(name))
        large = sum(hhblits(sequence, big, 1)[0] for sequence in shuffled)
    families = sorted((run / "results" / "families" / "uniref50").glob("*/*.parquet"))
    sizes = list(read_sizes(*families))
    cells = sum(depth * length for _, depth, length in sizes)
    alignments = sum(path.stat().st_size for path in (run / "results" / "msas").glob("*/*.ffdata"))
    added = (copies - 1) * columns(database) * residues
    return {
        "families in RUN": len(sizes),
        "columns of RUN's database": columns(database),
        "residues of a query in RUN, mean": mean(length for _, _, length in sizes),
        "depth in RUN, mean": mean(depth for _, depth, _ in sizes),
        "HHblits on RUN's database, CPU s a query": mean(cpu for cpu, _ in real),
        "HHblits' peak memory there, GiB": max(peak for _, peak in real),
        "prefilter, CPU ns a residue and column": (large - small) / added * 1e9,
        "A3M, bytes a cell": alignments / cells,
        "families table, bytes a cell": sum(path.stat().st_size for path in families) / cells,
    }


def searched(settings: dict[str, Any], sequences: float) -> dict[str, float]:
    """How many sequences of each split are searched with."""
    test = settings["split"]["test_share"]
    splits = {"train": sequences * (1 - test), "test": sequences * test}
    limits = settings["queries"]["limit"]
    return {name: min(count, limits[name] or count) for name, count in splits.items()}


def main() -> None:
    """Measure, multiply, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--searches", type=int, default=20, help="HHblits runs of each kind")
    parser.add_argument("--copies", type=int, default=40)
    parser.add_argument("--sequences", type=float, default=30e6, help="of UniRef50")
    parser.add_argument("--length", type=float, default=280, help="residues of a query, mean")
    parser.add_argument("--depth", type=float, default=500, help="rows of an alignment, mean")
    parser.add_argument("--database-columns", type=float, default=3e9)
    parser.add_argument("--iterations", type=int, default=3)
    args = parser.parse_args()
    found = measure(args.run, args.searches, args.copies)
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    shards = settings["queries"]["shards"]
    splits = searched(settings, args.sequences)
    queries = sum(splits.values())
    shard = splits["train"] / shards["train"]
    fixed = found["HHblits on RUN's database, CPU s a query"]
    growth = args.length / found["residues of a query in RUN, mean"]
    scan = found["prefilter, CPU ns a residue and column"] * 1e-9
    query = fixed * growth + args.iterations * scan * args.length * args.database_columns
    cells = queries * args.length * args.depth
    print("| measured | |\n|---|---|")
    for name, value in found.items():
        print(f"| {name} | {value:.4g} |")
    print("\n| assumed | |\n|---|---|")
    for name in ("sequences", "length", "depth", "database_columns", "iterations"):
        print(f"| {name.replace('_', ' ')} | {getattr(args, name):.4g} |")
    print("\n| follows | |\n|---|---|")
    print(f"| queries, million | {queries / 1e6:.3f} |")
    print(f"| shards (a search and a families job each) | {sum(shards.values())} |")
    print(f"| queries of a shard | {shard:.0f} |")
    print(f"| HHblits, CPU s a query | {query:.1f} |")
    print(f"| HHblits, million CPU hours | {queries * query / 3.6e9:.2f} |")
    print(f"| hours of a shard on 8 threads | {shard * query / 8 / 3600:.0f} |")
    print(f"| A3M, TB | {cells * found['A3M, bytes a cell'] / 1e12:.2f} |")
    print(f"| families tables, TB | {cells * found['families table, bytes a cell'] / 1e12:.2f} |")


if __name__ == "__main__":
    main()
