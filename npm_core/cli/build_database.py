"""Build an HH-suite database from a FASTA file, as UniClust30 is made.

MMseqs2 clusters the sequences, each cluster becomes an alignment, and cstranslate its profile.
The same sequences give the same bytes, whatever the number of threads.
"""

import argparse


def register(parser: argparse.ArgumentParser) -> None:
    """Arguments of `build-database`."""
    parser.add_argument("--fasta", required=True, help="sequences, gzipped or not")
    parser.add_argument(
        "--output",
        required=True,
        metavar="PREFIX",
        help="PREFIX_a3m and PREFIX_cs219 are written, each as .ffdata and .ffindex",
    )
    parser.add_argument("--identity", type=float, default=0.3, help="within a cluster, 0 to 1")
    parser.add_argument("--coverage", type=float, default=0.8, help="of both sequences, 0 to 1")
    parser.add_argument("--threads", type=int, default=1)


def run(args: argparse.Namespace) -> None:
    """Build and count."""
    from npm_core.hhsuite import build_database
    from npm_core.progress import note

    sequences, clusters = build_database(
        args.fasta,
        args.output,
        threads=args.threads,
        identity=args.identity,
        coverage=args.coverage,
    )
    note(f"{args.output}: {sequences} sequences in {clusters} clusters")
