"""Convert Potts models and contact scores between the field's file formats.

Models: safetensors, npz, CCMpred raw and msgpack, plmc, GREMLIN. Scores: CCMpred .mat, npy, npz,
EVcouplings CSV, CASP RR. A model converted to scores gets the paper's score, or CCMpred's in .mat;
scores cannot become a model. Text formats are gzipped where the name ends in .gz. CASP RR lists
pairs 6 residues or more apart with a score above zero; its p is the score over the largest one,
not a probability. Read, the pairs that an RR file lacks rank last, one below its lowest p, and an X
between other letters that is in no pair is a residue without a score.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFile


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input", type=Path, required=True, metavar="FILE", help="Potts model or contact scores"
    )
    parser.add_argument(
        "--output",
        type=OutputFile,
        required=True,
        metavar="FILE",
        help="its suffix tells the format; .npz holds what --input does, model or scores",
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FORMAT",
        help="safetensors, npz-model, ccmpred-raw, ccmpred-msgpack, plmc, gremlin, mat, npy, npz, "
        "evcouplings or rr; told from --input when not given",
    )
    parser.add_argument(
        "--to", dest="target", metavar="FORMAT", help="likewise; told from the suffix of --output"
    )


def run(args: argparse.Namespace) -> None:
    """Read, convert, write."""
    from npm_core import formats, potts_files, score_files
    from npm_core.errors import SettingsError
    from npm_core.progress import note

    for name in (args.source, args.target):
        if name is not None and name not in {*potts_files.MODELS, *score_files.SCORES}:
            known = ", ".join([*potts_files.MODELS, *score_files.SCORES])
            raise SettingsError(f"format {name!r} is none of {known}")
    source = args.source or formats.format_within(args.input)
    target = args.target or formats.format_of(args.output)
    if source in score_files.SCORES:
        if target in potts_files.MODELS:
            raise SettingsError(f"{args.input} holds contact scores; they cannot become a model")
        found = score_files.read_scores(args.input, source)
        score_files.write_scores(
            args.output,
            found.scores,
            query=found.query,
            numbers=found.numbers,
            name=found.name,
            file_format=target,
        )
        note(f"{args.output}: contact scores of {len(found.scores)} residues")
        return
    model = potts_files.read_model(args.input, source)
    if target == "npz" and args.target is None:
        target = "npz-model"  # what --input holds
    if target in potts_files.MODELS:
        potts_files.write_model(args.output, model, target)
        note(f"{args.output}: Potts model of {model.length} residues")
        return
    potts_files.write_model_scores(args.output, model, file_format=target)
    note(f"{args.output}: contact scores of {model.length} residues")
