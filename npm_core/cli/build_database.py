"""Build the database that a search engine needs from a FASTA file, as UniClust30 is made.

MMseqs2 clusters the sequences. For HHblits each cluster becomes an alignment, and cstranslate its
profile. The number of threads does not change the bytes, unless MMseqs2's index is so near to
--max-memory-gib that their buffers make it work in more parts. For MMseqs2 the sequences, the
clusters' representatives and the alignments of their members are kept.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import register_max_memory, register_threads, share_from_zero
from npm_core.mmseqs import COVERAGE, IDENTITY, MAX_MEMORY_GIB


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fasta", type=Path, required=True, help="sequences, gzipped or not")
    parser.add_argument(
        "--engine", choices=("hhblits", "mmseqs2"), default="hhblits", help="program that searches"
    )
    parser.add_argument(
        "--output",
        required=True,
        help="hhblits: a prefix, PREFIX_a3m and PREFIX_cs219 are written, each as .ffdata and "
        ".ffindex; mmseqs2: a folder",
    )
    parser.add_argument(
        "--identity",
        type=share_from_zero,
        default=IDENTITY,
        help="least share of identical residues in a cluster",
    )
    parser.add_argument(
        "--coverage",
        type=share_from_zero,
        default=COVERAGE,
        help="least share of both sequences aligned in a cluster",
    )
    register_max_memory(parser, default=MAX_MEMORY_GIB)
    register_threads(parser, "of the program")


def run(args: argparse.Namespace) -> None:
    """Build and count."""
    from npm_core import hhsuite_database, mmseqs
    from npm_core.progress import note

    engine = hhsuite_database if args.engine == "hhblits" else mmseqs
    sequences, clusters = engine.build_database(
        args.fasta,
        args.output,
        threads=args.threads,
        identity=args.identity,
        coverage=args.coverage,
        max_memory_gib=args.max_memory_gib,
    )
    note(f"{args.output}: {sequences} sequences in {clusters} clusters")
