"""Write contact scores of a run's tables as files of the field, one for each target and model.

They are called TARGET.MODEL.rr, or by another --format: CASP RR, CCMpred's .mat, npy, npz, or the
.csv of EVcouplings. A target whose id is no safe name for a file is called as `predict` does.
"""

import argparse
from pathlib import Path

from npm_core.cli._arguments import OutputFolder

FORMATS = ("rr", "mat", "npy", "npz", "csv")


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scores",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE.parquet",
        help="tables of contact scores, results/contacts/**.parquet",
    )
    parser.add_argument(
        "--targets",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE.parquet",
        help="tables of their structures, from which the files get the sequences' letters",
    )
    parser.add_argument("--ids", nargs="+", metavar="ID", help="targets; all when not given")
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="likewise")
    parser.add_argument("--format", choices=FORMATS, default="rr", help="of the files")
    parser.add_argument("--output", type=OutputFolder, required=True, help="for the files")


def run(args: argparse.Namespace) -> None:
    """Read one after the other, choose, write."""
    from npm_core import score_files
    from npm_core.errors import DataError
    from npm_core.files import file_stem
    from npm_core.progress import note
    from npm_core.tables import read_scores, read_targets

    letters = {target.id: target.sequence for target in read_targets(*args.targets)}
    written: dict[Path, tuple[str, str]] = {}
    for scores in read_scores(*args.scores):
        wanted = args.ids is None or scores.id in args.ids
        if not wanted or (args.models is not None and scores.model not in args.models):
            continue
        query = letters.get(scores.id)
        if query is not None and len(query) != len(scores.matrix):
            raise DataError(
                f"{scores.id} has {len(scores.matrix)} scored residues, its target {len(query)}"
            )
        path = args.output / f"{file_stem(scores.id)}.{file_stem(scores.model)}.{args.format}"
        if path in written:
            raise DataError(
                f"{scores.id} by {scores.model} stands twice in {', '.join(map(str, args.scores))}"
            )
        score_files.write_scores(path, scores.matrix, query=query, name=scores.id)
        written[path] = scores.id, scores.model
    ids, models = ({one[part] for one in written.values()} for part in (0, 1))
    missing = [one for one in args.ids or [] if one not in ids]
    missing += [one for one in args.models or [] if one not in models]
    if missing or not written:
        raise DataError(
            f"{', '.join(map(str, args.scores))}: no scores of {', '.join(missing) or 'any target'}"
        )
    note(f"{args.output}: {len(written)} files")
