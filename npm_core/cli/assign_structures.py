"""Assign PDB chains to training or test sequences by MMseqs2, and cluster each group.

A PDB entry (or chain) that hits only training sequences goes to train, only test sequences to
test; one that hits both or neither is discarded (paper, C.4). The output has the columns id,
split and representative; the FASTA holds the representatives. The audit has a row for every
candidate: id, unit, its own hits in both splits, status (representative, member or discarded),
split, reason, representative.
"""

import argparse
from pathlib import Path

from npm_core.assignment import Assignment, AssignmentSettings
from npm_core.cli._arguments import OutputFile, OutputFolder, register_max_memory, register_threads
from npm_core.settings import add_flags, overridden

AUDIT = (
    *("id", "unit", "train_hits", "train_best", "train_identity"),
    *("test_hits", "test_best", "test_identity", "status", "split", "reason", "representative"),
)


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--candidates", type=Path, required=True, help="FASTA of PDB chains")
    parser.add_argument("--train", type=Path, required=True, help="FASTA of training sequences")
    parser.add_argument("--test", type=Path, required=True, help="FASTA of test sequences")
    add_flags(parser, AssignmentSettings, grouped=False)
    register_max_memory(parser, default=AssignmentSettings.max_memory_gib)
    register_threads(parser, "of MMseqs2")
    parser.add_argument(
        "--scratch",
        type=OutputFolder,
        help="for MMseqs2's files; beside the output when not given",
    )
    parser.add_argument("--output", type=OutputFile, required=True, help="tab-separated table")
    parser.add_argument("--representatives", type=OutputFile, required=True, help="FASTA")
    parser.add_argument("--audit", type=OutputFile, required=True, help="tab-separated table")


def run(args: argparse.Namespace) -> None:
    from collections import Counter

    from npm_core.assignment import assign
    from npm_core.files import write_text, write_tsv
    from npm_core.progress import note
    from npm_core.queries import read_queries

    settings = overridden(
        AssignmentSettings(max_memory_gib=args.max_memory_gib, threads=args.threads), args
    )
    candidates = list(read_queries(args.candidates, may_be_empty=True))
    scratch = args.scratch or args.output.parent
    scratch.mkdir(parents=True, exist_ok=True)
    assignments = assign(
        candidates, {"train": args.train, "test": args.test}, settings, scratch=scratch
    )
    both = zip(candidates, assignments, strict=True)
    representatives = (query.fasta for query, item in both if item.fate == "representative")
    write_text(args.representatives, "".join(representatives))
    write_tsv(args.audit, AUDIT, map(_audited, assignments))
    assigned = ((item.id, item.split, item.representative) for item in assignments if item.split)
    write_tsv(args.output, ("id", "split", "representative"), assigned)
    fates = Counter(item.reason or f"{item.split} {item.fate}" for item in assignments)
    listed = "; ".join(f"{count} {fate}" for fate, count in sorted(fates.items()))
    note(f"{args.output}: {len(candidates)} candidates: {listed or 'none'}")


def _audited(item: Assignment) -> tuple[object, ...]:
    hits = (
        value
        for found in (item.hits["train"], item.hits["test"])
        for value in (found.count, found.best, f"{found.identity:.3f}" if found.count else "")
    )
    return (item.id, item.unit, *hits, item.fate, item.split, item.reason, item.representative)
