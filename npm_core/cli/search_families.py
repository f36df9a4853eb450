"""Rebuild a clan's families from profile HMMs and sequences, where Pfam's servers are not needed.

Each family of the clan is searched for by hmmsearch with its own gathering cut-offs; its domains
are aligned by the profile's match columns. Written are PREFIX.ffdata and PREFIX.ffindex (one A3M a
family, keys are accessions) and the ledger: query, status, reason, depth, seconds. A family without
profile, cut-off or hit is `skipped`. A killed run goes on where it was.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import positive_int, register_search_outputs, whole


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profiles", type=Path, required=True, metavar="FILE.h3m", help="HMMER3 profiles"
    )
    parser.add_argument(
        "--sequences", type=Path, required=True, metavar="FILE.fasta[.gz]", help="to search in"
    )
    parser.add_argument("--clans", type=Path, required=True, help="Pfam-A.clans.tsv[.gz]")
    parser.add_argument("--clan", required=True, help="its name, e.g. NADP_Rossmann")
    parser.add_argument("--shard", type=whole, default=0, help="part of the clan, from 0")
    parser.add_argument("--shards", type=positive_int, default=1, help="how many parts there are")
    parser.add_argument("--workers", type=positive_int, default=1, help="families at a time")
    register_search_outputs(parser, scratch="for what a stopped run goes on from", each="family")


def run(args: argparse.Namespace) -> None:
    """Search the shard."""
    from npm_core.family_search import search_families
    from npm_core.pfam import read_clan

    search_families(
        read_clan(args.clans, args.clan),
        args.profiles,
        args.sequences,
        args.output,
        args.ledger,
        shard=args.shard,
        shards=args.shards,
        workers=args.workers,
        scratch=args.scratch,
    )
