"""One module per verb: parse, read, call, write.

The verb `fit-potts` lives in `cli/fit_potts.py`: its docstring is the help text, `register`
adds its arguments, `run` does the work. Verb modules import the science inside `run`, so that
`--help` answers at once; only settings whose defaults are an argument's come before.
Arguments that several verbs have stand in modules whose names begin with `_`.
"""

import argparse
import ast
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from npm_core import __version__
from npm_core.cli._arguments import OutputFile, OutputFolder
from npm_core.cli._outputs import check_arguments
from npm_core.errors import NpmError

DESCRIPTION = """The Neural Potts Model.

Tools for single proteins: contacts, convert, fit-potts, precision, predict, score and
score-variants; export-scores takes the contact scores of a run out of its tables; all others are
steps of the workflow (README.md). VERB --help explains one."""


def verbs() -> dict[str, str]:
    """Every verb with the first line of its module's docstring, read without importing it."""
    modules = sorted(Path(__file__).parent.glob("[a-z]*.py"))
    return {path.stem.replace("_", "-"): _docstring(path) for path in modules}


def _docstring(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0] if text else ""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Says the default of each option whose help text does not, where there is one.

    Paths are called FILE, or DIR where it is a folder that is written.
    """

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        # 0 is a default worth saying, though it equals False.
        flag = action.default is None or action.default is False
        unsaid = not flag and action.default not in ([], argparse.SUPPRESS)
        if not (unsaid and action.option_strings) or "default" in text.lower():
            return text
        if isinstance(action.default, list):
            return f"{text} (default: {' '.join(map(str, action.default))})"
        return f"{text} (default: %(default)s)"

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        if action.type is OutputFolder:
            return "DIR"
        if action.type in (Path, OutputFile):
            return "FILE"
        return action.option_strings[0].lstrip("-").replace("-", "_").upper()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; exit status 0, or 2 with one `ERROR:` message a user can act on.

    An argument @FILE stands for the lines of that file, for lists too long for a command line.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    known = verbs()
    top = argparse.ArgumentParser(
        prog="python -m npm_core",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        fromfile_prefix_chars="@",
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    if chosen is not None and chosen not in known and not chosen.startswith("@"):
        near = difflib.get_close_matches(chosen.replace("_", "-"), known)
        top.error(
            f"no verb {chosen}; "
            + (f"did you mean {' or '.join(near)}?" if near else "--help lists them")
        )
    for verb, summary in known.items():
        parser = commands.add_parser(verb, help=summary.rstrip("."))
        if verb == chosen:
            module = importlib.import_module(f"npm_core.cli.{verb.replace('-', '_')}")
            parser.description = module.__doc__
            parser.formatter_class = HelpFormatter
            module.register(parser)
            parser.set_defaults(run=module.run)
    args = top.parse_args(argv)
    if "run" not in args:
        top.error(f"name the verb itself, not in {chosen}")
    try:
        check_arguments(args)
        args.run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (NpmError, OSError) as error:
        if os.environ.get("NPM_DEBUG") == "1":
            raise
        print(f"ERROR: {_message(error)}", file=sys.stderr)
        return 2
    return 0


def _message(error: Exception) -> str:
    """Of an OSError that knows its file: which, and what was wrong."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
