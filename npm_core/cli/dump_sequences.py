"""Write the distinct sequences of BLAST databases as one gzipped FASTA file.

Debian's package metastudent-data carries UniProt sequences in this form, ncbi-blast+ the program
blastdbcmd that reads them.
"""

import argparse

from npm_core.cli._arguments import OutputFile


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database", required=True, nargs="+", metavar="PREFIX", help="prefixes of BLAST databases"
    )
    parser.add_argument(
        "--output",
        required=True,
        type=OutputFile,
        metavar="FILE.fasta.gz",
        help="sequences, each once",
    )


def run(args: argparse.Namespace) -> None:
    """Read, leave doubles out, write."""
    from npm_core.errors import DataError
    from npm_core.family_search import blast_sequences
    from npm_core.fasta import fasta_text
    from npm_core.files import open_gzip
    from npm_core.progress import note

    count = residues = 0
    with open_gzip(args.output, level=1) as stream:
        for name, sequence in blast_sequences(args.database):
            stream.write(fasta_text([(name, sequence)]).encode())
            count += 1
            residues += len(sequence)
        if not count:
            raise DataError(f"{', '.join(args.database)}: no sequences")
    note(f"{args.output}: {count} distinct sequences, {residues} residues")
