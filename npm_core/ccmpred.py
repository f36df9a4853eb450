"""CCMpred as a backend: the original program, if it is on PATH, behind the same interface.

Its traps (version 0.3.3): it exits 0 whatever happened to the optimisation, so the status line of
its output decides; it overflows above 1,787 columns; it takes inserts for columns, so it is given
alignments without them.
"""

import re
import shutil
import tempfile
import time
from pathlib import Path

from npm_core import alphabet, plm, potts_files
from npm_core.arrays import States
from npm_core.errors import DataError, SettingsError, ToolError
from npm_core.programs import Programs

MAX_COLUMNS = 1787
"""Above this, 21 x 21 x L x L with padding no longer fits CCMpred's 32-bit counters."""

MAX_ITERATIONS = 250

_STATUS = re.compile(r"^(Done|Exit) with status code (-?\d+)", re.MULTILINE)
_ITERATION = re.compile(r"^(\d+)\s+(\d+)\s+\S+\s+\S+\s+\S+\s+\S+\s*$", re.MULTILINE)


def needed_bytes(length: int) -> int:
    """What CCMpred allocates: four vectors of its padded parameters."""
    return 16 * (20 * length + length**2 * 21 * 32)


def fit(residues: States, *, threads: int = 1, program: str = "ccmpred") -> plm.Fit:
    """Fit by CCMpred with its default settings.

    Args:
        residues: (M, L) uint8, states 0..20, without inserts.
        threads: For `-t`.
        program: Name or path of the executable.

    Returns:
        The model; `converged` is what CCMpred's status line says, `objective` is recomputed in
        float64 from the parameters it wrote.

    Raises:
        SettingsError: The alignment is too wide or too narrow for CCMpred.
        ToolError: CCMpred is not there, was killed, or did not say how it ended.
    """
    began = time.perf_counter()
    length = residues.shape[1]
    if not 2 <= length <= MAX_COLUMNS:
        raise SettingsError(
            f"CCMpred takes 2 to {MAX_COLUMNS} columns, found {length}; use --backend own"
        )
    found = shutil.which(program)
    if found is None:
        raise ToolError(f"{program} is not on PATH; install CCMpred or use --backend own")
    with tempfile.TemporaryDirectory(prefix="npm_ccmpred.") as folder:
        alignment, raw = Path(folder, "input.aln"), Path(folder, "output.raw")
        lines = (alphabet.decode(row) for row in residues)
        alignment.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
        command = [found, "-t", str(threads), "-n", str(MAX_ITERATIONS), "-r", str(raw)]
        command += [str(alignment), str(Path(folder, "output.mat"))]
        setup = time.perf_counter()
        with Programs() as programs:
            done = programs.run(command)
        said = done.output.decode(errors="replace")
        status = _STATUS.search(said)
        tail = said.strip()[-300:]
        if done.failure or status is None:
            raise ToolError(
                f"{found}: {done.failure or 'no status line'}; its last words: {tail!r}"
            )
        try:
            model = potts_files.read_model(raw, "ccmpred-raw")
        except DataError as error:
            raise ToolError(f"{found} wrote no whole raw file ({error}); {tail!r}") from error
    if model.length != length:
        raise ToolError(f"{found} wrote {model.length} positions for {length} columns")
    problem = plm.CCMPRED.problem(residues)
    return plm.Fit(
        potts=model,
        objective=plm.regularised_loss(model, problem, threads=threads),
        evaluations=1 + sum(int(evaluations) for _, evaluations in _ITERATION.findall(said)),
        converged=status[1] == "Done" and int(status[2]) >= 0,
        meff=problem.meff,
        seconds_setup=setup - began,
        seconds_fit=done.seconds,
    )
