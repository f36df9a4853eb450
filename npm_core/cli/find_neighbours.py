"""Find the query-centred training family nearest to each target, by MMseqs2.

The nearest is the one whose query has the highest bit score, in that alignment; a family called
like the target is left out.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import positive, register_max_memory, register_threads
from npm_core.cli._neighbours import register_inputs, register_output, write_found
from npm_core.mmseqs import MAX_MEMORY_GIB


def register(parser: argparse.ArgumentParser) -> None:
    register_inputs(parser)
    parser.add_argument("--e-value", type=positive, default=1e-3, help="hits above it do not count")
    register_max_memory(parser, default=MAX_MEMORY_GIB)
    register_threads(parser, "of MMseqs2")
    register_output(parser)


def run(args: argparse.Namespace) -> None:
    """Search and write the neighbours."""
    from npm_core.neighbour_search import nearest_by_mmseqs, scratch_folder
    from npm_core.tables import read_family_queries, read_targets

    with scratch_folder(args.output) as folder:
        found = nearest_by_mmseqs(
            list(read_targets(*args.targets)),
            # A gap in a query is a residue nobody knows, and a column like the others.
            queries=(
                (family, query.replace("-", "X"))
                for path in args.families
                for family, query in read_family_queries(path).items()
            ),
            e_value=args.e_value,
            max_memory_gib=args.max_memory_gib,
            threads=args.threads,
            scratch=Path(folder),
        )
    write_found(args.output, found, method="mmseqs")
