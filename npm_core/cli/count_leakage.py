"""Count the test sequences that are rows in the alignments of training sequences.

Sequences are told by their UniProt accession. The table has the columns id (accession) and
alignments (training alignments of which it is a row), one row a test sequence that occurs. The
audit counts three sets, those that occur and those that do not: all test sequences, those searched
with, and the test sequences that the test targets resemble most; a target that resembles none
itself, as its entry was assigned by other chains, is counted apart. Its columns are status, reason
(the set), count.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFile, positive_int


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--msas",
        required=True,
        nargs="+",
        metavar="FILE.ffdata",
        help="training queries' A3M texts",
    )
    parser.add_argument("--test", required=True, type=Path, help="FASTA of all test sequences")
    parser.add_argument(
        "--queries", required=True, type=Path, metavar="DIR", help="shards of test queries, FASTA"
    )
    parser.add_argument("--targets", type=Path, required=True, nargs="+", help="tables of targets")
    parser.add_argument("--assignments", required=True, type=Path, help="assign-structures' audit")
    parser.add_argument("--workers", type=positive_int, default=1, help="processes")
    parser.add_argument(
        "--output",
        type=OutputFile,
        required=True,
        metavar="FILE.parquet",
        help="table of the test sequences that occur",
    )
    parser.add_argument(
        "--audit",
        required=True,
        type=OutputFile,
        metavar="FILE.tsv",
        help="counts of the three sets",
    )


def run(args: argparse.Namespace) -> None:
    """Read the alignments, count, write."""
    from npm_core import leakage
    from npm_core.files import write_tsv
    from npm_core.progress import note
    from npm_core.provenance import provenance
    from npm_core.tables import write_occurrences

    prefixes = [name.removesuffix(".ffdata") for name in args.msas]
    found, alignments = leakage.occurrences(prefixes, args.test, workers=args.workers)
    queries = (
        name for path in sorted(args.queries.glob("*.fasta")) for name in leakage.accessions(path)
    )
    nearest = leakage.nearest_test_sequences(args.targets, args.assignments)
    counts = [
        *leakage.tally("test sequences", leakage.accessions(args.test), found),
        *leakage.tally("test queries", queries, found),
        *leakage.tally(
            "test targets, by the test sequence nearest to each", nearest.values(), found
        ),
    ]
    facts = provenance(alignments=alignments)
    write_occurrences(args.output, sorted(found.items()), facts)
    write_tsv(args.audit, ("status", "reason", "count"), counts)
    for status, what, count in counts:
        note(f"{count} {what}: {status} ({alignments} alignments)")
