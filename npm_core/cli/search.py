"""Search with each query of a shard by HHblits or MMseqs2; a ledger says what became of each.

Written are PREFIX.ffdata and PREFIX.ffindex (one A3M a query, keys are query ids, in the order of
the FASTA file) and the ledger: query, status, reason, depth, seconds. The statuses are ok, empty
(nothing found: the alignment is the query alone, a family of depth 1 that goes on), failed and
skipped. A killed run goes on where it was; its results do not depend on --threads.

MMseqs2's iterative profile search (in the manner of ColabFold) is many times faster than HHblits,
the paper's engine. --cpu and --max-memory-gib decide what HHblits finds: they belong to the
experiment, not to the machine.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import (
    gibibytes,
    positive,
    positive_int,
    register_max_failed,
    register_search_outputs,
    register_threads,
)
from npm_core.hhsuite import HhblitsSettings
from npm_core.mmseqs import MmseqsSettings
from npm_core.search import Limits
from npm_core.settings import add_flags, overridden


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--queries", type=Path, required=True, metavar="FILE.fasta", help="sequences to search with"
    )
    parser.add_argument(
        "--engine", choices=("hhblits", "mmseqs2"), default="hhblits", help="program that searches"
    )
    parser.add_argument(
        "--database", required=True, help="prefix (hhblits) or folder (mmseqs2) of its database"
    )
    parser.add_argument(
        "--iterations",
        type=positive_int,
        default=HhblitsSettings.iterations,
        help="rounds of the search with a query (C.4)",
    )
    parser.add_argument(
        "--e-value",
        type=positive,
        default=HhblitsSettings.e_value,
        help="largest of a hit to include (C.4)",
    )
    add_flags(parser, HhblitsSettings, grouped=False)
    parser.add_argument(
        "--max-memory-gib",
        type=gibibytes,
        default=HhblitsSettings.max_memory_gib,
        help="GiB: hhblits -maxmem, or of mmseqs2's index; it changes what is found",
    )
    add_flags(parser, MmseqsSettings, "mmseqs-", grouped=False)
    add_flags(parser, Limits, grouped=False)
    register_threads(parser, "of all processes together; one hhblits has --cpu")
    register_max_failed(parser, "queries")
    register_search_outputs(parser, scratch="for a journal, and MMseqs2's files", each="query")


def run(args: argparse.Namespace) -> None:
    """Search the shard."""
    from npm_core.search import search_shard

    engine = HhblitsSettings if args.engine == "hhblits" else MmseqsSettings
    settings = engine(
        args.database,
        iterations=args.iterations,
        e_value=args.e_value,
        max_memory_gib=args.max_memory_gib,
    )
    search_shard(
        args.queries,
        args.output,
        args.ledger,
        settings=overridden(settings, args),
        limits=overridden(Limits(), args),
        threads=args.threads,
        max_failed_share=args.max_failed_share,
        scratch=args.scratch,
    )
