"""Write the settings of a run as YAML, for its reports to show."""

import argparse
import json

import yaml

from npm_core.arguments import OutputFile
from npm_core.files import write_text


def register(parser: argparse.ArgumentParser) -> None:
    """Arguments of `record-settings`."""
    parser.add_argument("--json", required=True, help="the settings, as one JSON object")
    parser.add_argument("--output", type=OutputFile, required=True, metavar="FILE.yaml")


def run(args: argparse.Namespace) -> None:
    """Parse the settings and write them."""
    write_text(args.output, yaml.safe_dump(json.loads(args.json), sort_keys=False))
