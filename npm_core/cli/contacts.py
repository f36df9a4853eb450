"""Distances between the C-beta atoms (glycine: C-alpha) of one protein chain.

The output holds the full sequence (SEQRES), `distances` (L, L) in angstrom with NaN where a
residue is unresolved, `resolved` (L,), and the chain's names. Residues are numbered by
label_seq_id; `author_numbers` (L,) holds the numbers of publications and the PDB's pages as text,
with insertion codes, "" for a residue without atoms. Of a PDB file without SEQRES the sequence is
that of the observed residues, with an X for each number left out where the chain is broken.
"""

import argparse

from npm_core.cli._arguments import output_file, register_structure


def register(parser: argparse.ArgumentParser) -> None:
    register_structure(parser)
    parser.add_argument(
        "--output",
        type=output_file(".npz"),
        required=True,
        metavar="FILE.npz",
        help="sequence, distances and author's residue numbers",
    )


def run(args: argparse.Namespace) -> None:
    import numpy as np

    from npm_core.files import atomic_path
    from npm_core.progress import note
    from npm_core.structures import read_target

    chain, target = read_target(args.structure, args.chain)
    with atomic_path(args.output) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            sequence=np.array(target.sequence),
            distances=target.distances,
            resolved=chain.resolved,
            author_numbers=np.array(chain.author_numbers),
            chain=np.array(chain.author),
            label=np.array(chain.label),
        )
    note(
        f"{args.output}: chain {chain}, {target.length} residues ({chain.sequence_from}), "
        f"{int(chain.resolved.sum())} resolved"
    )
