"""Search with each query of a shard by HHblits, and keep a ledger of what became of it.

Written are PREFIX.ffdata and PREFIX.ffindex (one A3M a query, keys are query ids, in the order of
the FASTA file) and the ledger: query, status, reason, depth, seconds. The statuses are ok, empty
(nothing found: the alignment is the query alone, a family of depth 1 that goes on), failed and
skipped. A killed run goes on where it was; its results do not depend on --threads.

--cpu and --max-memory-gib decide what hhblits finds: they belong to the experiment, not to the
machine.
"""

import argparse


def register(parser: argparse.ArgumentParser) -> None:
    """Arguments of `search`."""
    parser.add_argument("--queries", required=True, metavar="FASTA")
    parser.add_argument("--database", required=True, metavar="PREFIX", help="HH-suite database")
    parser.add_argument("--iterations", type=int, default=3, help="hhblits -n (C.4)")
    parser.add_argument("--e-value", type=float, default=0.001, help="hhblits -e (C.4)")
    parser.add_argument("--cpu", type=int, default=1, help="hhblits -cpu")
    parser.add_argument("--max-memory-gib", type=float, default=3.0, help="hhblits -maxmem")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one query")
    parser.add_argument(
        "--memory-limit-gib",
        type=float,
        default=8.0,
        help="GiB one hhblits may allocate; the database, which it maps, does not count",
    )
    parser.add_argument("--max-length", type=int, default=20_000, help="longer queries are skipped")
    parser.add_argument(
        "--threads", type=int, default=1, help="of all HHblits processes together; each has --cpu"
    )
    parser.add_argument(
        "--max-failed-share", type=float, default=0.05, help="the shard fails above it"
    )
    parser.add_argument("--scratch", required=True, metavar="DIR", help="where a journal is kept")
    parser.add_argument("--output", required=True, metavar="PREFIX")
    parser.add_argument("--ledger", required=True, metavar="TSV")


def run(args: argparse.Namespace) -> None:
    """Search the shard."""
    from npm_core.hhsuite import HhblitsSettings
    from npm_core.search import Limits, search_shard

    search_shard(
        args.queries,
        args.output,
        args.ledger,
        settings=HhblitsSettings(
            args.database, args.iterations, args.e_value, args.cpu, args.max_memory_gib
        ),
        limits=Limits(args.timeout, args.memory_limit_gib, args.max_length),
        workers=max(1, args.threads // args.cpu),
        max_failed_share=args.max_failed_share,
        scratch=args.scratch,
    )
