"""Fit an independent Potts model to each family of a table and score its contacts (paper, C.2).

One process per worker, one thread each; families are fitted in turn and written in order. The
report has one line a family: what the fit cost and whether it converged.
"""

import argparse

from npm_core.cli._potts import fitter_of, register_family_fits


def register(parser: argparse.ArgumentParser) -> None:
    register_family_fits(parser, model="potts")


def run(args: argparse.Namespace) -> None:
    """Fit without a prior."""
    from npm_core.family_fitting import fit_table

    fit_table(
        fitter_of(args, args.model),
        families=args.families,
        targets=args.targets,
        test_rows=args.test_rows,
        workers=args.workers,
        output=args.output,
        report=args.report,
    )
