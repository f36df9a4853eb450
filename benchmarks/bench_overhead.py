"""What a run spends beside its tools: CPU seconds of all processes less those of the programs.

    python benchmarks/bench_overhead.py --directory RUN --configfile FILE [SNAKEMAKE ARGUMENT ...]

runs snakemake with these arguments, with the programs of HH-suite and MMseqs2 replaced on the PATH
by scripts that call them and note their CPU seconds, and prints what each took and what all the
rest took. Only what this command itself runs is counted: RUN should be a new folder.
"""

import os
import resource
import shlex
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from npm_core.errors import ToolError
from npm_core.programs import program

TOOLS = ("hhblits", "hhfilter", "cstranslate", "mmseqs")


def write_script(name: str, folder: Path, notes: Path) -> None:
    """A script that runs a program and notes the CPU seconds of it and of all it started.

    MMseqs2 calls itself by its name: such a call is part of the first one and notes nothing.
    """
    real = shlex.quote(program(name))
    path = folder / name
    path.write_text(
        "#!/bin/bash\n"
        f'[ -z "$NOTED_TOOL" ] || exec {real} "$@"\n'
        f"export NOTED_TOOL={name}\n"
        f'{real} "$@"\n'
        "status=$?\n"
        f"times >> {shlex.quote(str(notes))}/{name}.$$\n"
        "exit $status\n",
        encoding="utf-8",
    )
    path.chmod(0o755)


def seconds(text: str) -> float:
    """A time as bash's `times` prints it: 1m2.345s."""
    minutes, rest = text.removesuffix("s").split("m")
    return 60 * float(minutes) + float(rest)


def tools_seconds(notes: Path) -> tuple[dict[str, float], dict[str, int]]:
    """CPU seconds and calls of each program; of two lines a call, the second is the program's."""
    taken: defaultdict[str, float] = defaultdict(float)
    calls: defaultdict[str, int] = defaultdict(int)
    for path in notes.iterdir():
        name = path.name.split(".")[0]
        programs = path.read_text(encoding="utf-8").splitlines()[1::2]
        calls[name] += len(programs)
        taken[name] += sum(seconds(time) for line in programs for time in line.split())
    return taken, calls


def main() -> None:
    """Run snakemake and print a table."""
    if not sys.argv[1:] or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as name:
        scripts, notes = Path(name, "bin"), Path(name, "notes")
        scripts.mkdir()
        notes.mkdir()
        for tool in TOOLS:
            write_script(tool, scripts, notes)
        environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(["snakemake", *sys.argv[1:]], env=environment, check=False)
        if done.returncode:
            raise ToolError(f"snakemake: exit status {done.returncode}")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken, calls = tools_seconds(notes)
    everything = used.ru_utime + used.ru_stime
    print("| | calls | CPU s |\n|---|---|---|")
    for tool in TOOLS:
        if calls[tool]:
            print(f"| {tool} | {calls[tool]} | {taken[tool]:.1f} |")
    rest = everything - sum(taken.values())
    print(f"| all the rest | | {rest:.1f}, {rest / everything:.1%} of {everything:.1f} |")


if __name__ == "__main__":
    main()
