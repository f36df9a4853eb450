"""Fit a Potts model to each family with the Neural Potts Model as its prior; score its contacts.

The penalty shrinks each model to W(x) of the family's first row x, times --prior-weight, instead of
to zero: lambda_J |J - a J(x)|^2 + lambda_h |h - a h(x)|^2. The alignment corrects the prediction as
far as it is deep (named as future work in the paper's section 6).
"""

import argparse
from dataclasses import replace
from pathlib import Path

from npm_core.cli._arguments import register_window, share
from npm_core.cli._potts import fitter_of, register_family_fits


def register(parser: argparse.ArgumentParser) -> None:
    register_family_fits(parser, model="prior")
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help="of `train`")
    parser.add_argument(
        "--prior-weight",
        type=share,
        required=True,
        help="factor a of the prediction, above 0, at most 1",
    )
    register_window(parser)


def run(args: argparse.Namespace) -> None:
    """Fit with the prior."""
    from npm_core.checkpoints import WEIGHTS, read_config, trained_length
    from npm_core.family_fitting import fit_table
    from npm_core.prior import Prior

    digest = read_config(args.checkpoint)["sha256"]
    window = args.window or trained_length(args.checkpoint)
    fit_table(
        replace(
            fitter_of(args, args.model),
            prior=Prior(args.checkpoint, args.prior_weight, window),
            predictor_bytes=(args.checkpoint / WEIGHTS).stat().st_size,
        ),
        families=args.families,
        targets=args.targets,
        test_rows=args.test_rows,
        workers=args.workers,
        output=args.output,
        report=args.report,
        checkpoint=digest,
        prior_weight=args.prior_weight,
        window=window,
    )
