"""Predict fields, couplings and contacts of sequences: one forward pass each, no alignment.

Writes for each sequence of the FASTA file, by --formats:
NAME.scores.npz (contact scores), NAME.potts.safetensors (h and J), NAME.rr (CASP RR), NAME.png
(contact map). NAME is the first word of the header; if it has other characters than letters,
digits and _.- or more than 64, these become _, the rest is cut, and 8 digits of the whole name's
sha256 follow. At the end index.tsv lists them all: id (that first word), name, length, first
(number of the first residue) and masked (letters that name no single amino acid). Residues count
from 1, or from FIRST where the id ends in /FIRST-LAST and there are LAST - FIRST + 1 of them; where
there are not, a line says so. DNA and RNA are refused.

Sequences longer than the model was trained on are read in windows that overlap by half. An RR file
lists pairs 6 residues or more apart with a score above zero, numbered from 1; its p is the score
over the largest one, not a probability.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFolder, register_device, register_threads, register_window

SMALL_MODEL = Path(__file__).parents[1] / "small_model"
"""Made by `make model`."""


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fasta", type=Path, required=True, help="sequences")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=SMALL_MODEL,
        metavar="DIR",
        help="of `train`; default: the small model that comes with npm_core, whose README.md says "
        "what it can do",
    )
    parser.add_argument("--output", type=OutputFolder, required=True, help="for the predictions")
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=("scores", "potts", "rr", "png"),
        default=["scores", "rr", "png"],
        help="what to write; default: scores rr png",
    )
    register_window(parser)
    register_device(parser)
    register_threads(parser)


def run(args: argparse.Namespace) -> None:
    from npm_core import alphabet
    from npm_core.checkpoints import read_config, trained_length
    from npm_core.devices import use_threads
    from npm_core.files import file_stem, write_tsv
    from npm_core.numbering import range_misfit, residue_numbers
    from npm_core.predict import embed_sequences, load_predictor
    from npm_core.prediction_files import write_prediction
    from npm_core.progress import note, track
    from npm_core.provenance import provenance
    from npm_core.queries import read_queries

    use_threads(args.threads)
    queries = [(query, alphabet.encode(query.sequence)) for query in read_queries(args.fasta)]
    if args.checkpoint == SMALL_MODEL:
        note(f"reading with the small model; what it can do is in {SMALL_MODEL / 'README.md'}")
    model = load_predictor(args.checkpoint, args.device)
    metadata = provenance(checkpoint=read_config(args.checkpoint)["sha256"])
    window = args.window or trained_length(args.checkpoint)
    read = embed_sequences(
        model, (((query, states), states) for query, states in queries), window=window
    )
    predicted = []
    for (query, states), windows in track(read, total=len(queries), what="sequences predicted"):
        unknown = int((states == alphabet.GAP).sum())
        if unknown:
            note(f"{query.id}: {unknown} letters name no single amino acid; read as masked")
        if misfit := range_misfit(query.id, query.sequence):
            note(f"{query.id}: {misfit}")
        write_prediction(
            args.output,
            query.id,
            query.sequence,
            windows,
            formats=args.formats,
            metadata=metadata,
        )
        first = residue_numbers(query.id, query.sequence)[0]
        predicted.append((query.id, file_stem(query.id), len(query.sequence), first, unknown))
    columns = ("id", "name", "length", "first", "masked")
    write_tsv(args.output / "index.tsv", columns, predicted)
