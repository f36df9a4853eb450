"""Generate a universe of protein families as the files UniProt, the PDB and Pfam publish.

Writes DIR/uniref50.fasta.gz, uniprot.fasta.gz, pdb/, pfam/ and truth/. The same settings give
the same bytes.
"""

import argparse

from npm_core.cli._arguments import OutputFolder


def register(parser: argparse.ArgumentParser) -> None:
    from npm_core.settings import add_flags
    from npm_core.universe.families import UniverseSettings

    parser.add_argument("--output", required=True, type=OutputFolder, help="for the files")
    add_flags(parser, UniverseSettings)


def run(args: argparse.Namespace) -> None:
    """Draw the universe and write its mirror."""
    from npm_core.settings import overridden
    from npm_core.universe.deposits import deposits
    from npm_core.universe.families import UniverseSettings, generate
    from npm_core.universe.mirror import write_mirror

    universe = generate(overridden(UniverseSettings(), args))
    write_mirror(universe, deposits(universe), args.output)
