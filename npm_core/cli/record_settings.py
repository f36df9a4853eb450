"""Write the settings of a run as YAML, for its reports to show."""

import argparse
import json

import yaml

from npm_core.cli._arguments import OutputFile
from npm_core.errors import SettingsError
from npm_core.files import write_text


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", required=True, help="the settings, as one JSON object")
    parser.add_argument(
        "--output", type=OutputFile, required=True, metavar="FILE.yaml", help="the same as YAML"
    )


def run(args: argparse.Namespace) -> None:
    """Parse the settings and write them."""
    try:
        settings = json.loads(args.json)
    except json.JSONDecodeError as error:
        raise SettingsError(f"--json: {error}") from error
    write_text(args.output, yaml.safe_dump(settings, sort_keys=False))
