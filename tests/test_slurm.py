"""The alignment stage on a real Slurm, where one can be had: root, slurm-wlm and munge."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from filelock import FileLock
from test_workflow import BIN, ROOT, TINY, output

CLUSTER = Path(__file__).parent / "slurm_cluster.sh"
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue")

pytestmark = pytest.mark.slow

# The first attempt's memory is too small for this hhblits, the second's is not.
HUNGRY = """#!/bin/sh
[ "$1" = -h ] && exec {hhblits} "$@"
memory=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/.*MinMemoryNode=\\([0-9]*\\)M.*/\\1/p')
echo "$memory" >> "{log}"
[ "$memory" -gt 3000 ] || exit 137
exec {hhblits} "$@"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster of this machine, ended with the tests; or a skip that says what is missing."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(
            f"no Slurm here (root: {os.geteuid() == 0}, missing: {missing}); as root on Debian: "
            "bash tests/slurm_cluster.sh install"
        )
    folder = tmp_path_factory.mktemp("slurm")
    with FileLock("/tmp/npm_slurm_test.lock", timeout=3600):
        started = subprocess.run([CLUSTER, "start", folder], capture_output=True, text=True)
        if started.returncode == 2 and "belongs to a cluster" in started.stderr:
            pytest.skip(started.stderr)
        assert started.returncode == 0, started.stderr
        try:
            yield
        finally:
            subprocess.run([CLUSTER, "stop"], check=True)


def test_the_alignments_are_made_on_slurm_and_a_failed_job_gets_more_memory(
    cluster, toy_database, tmp_path
):
    prefix, member = toy_database
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(TINY))
    # What is there already is not made again.
    built, queries = (tmp_path / "results" / name for name in ("database/built", "queries/test"))
    built.mkdir(parents=True)
    for part in ("a3m.ffdata", "a3m.ffindex", "cs219.ffdata", "cs219.ffindex"):
        shutil.copy(f"{prefix}_{part}", built / f"database_{part}")
    queries.mkdir(parents=True)
    (queries / "0000.fasta").write_text(f">a\n{member}\n>b\n{member[5:]}\n")
    hungry, seen = tmp_path / "bin" / "hhblits", tmp_path / "memory"
    hungry.parent.mkdir()
    hungry.write_text(HUNGRY.format(log=seen, hhblits=shutil.which("hhblits")))
    hungry.chmod(0o755)
    target = "results/families/uniref50/test/0000.parquet"
    done = subprocess.run(
        [
            # It dies with the tests.
            *("setpriv", "--pdeathsig", "KILL"),
            # From one core of a machine; the jobs' threads do not depend on it.
            *(
                *("taskset", "-c", "0"),
                BIN / "snakemake",
                target,
                "--snakefile",
                ROOT / "workflow" / "Snakefile",
            ),
            *("--directory", tmp_path, "--configfile", tmp_path / "settings.yaml"),
            *("--profile", ROOT / "workflow" / "profiles" / "slurm"),
            # What this cluster is: no accounting, two cores, 8 GB.
            *("--slurm-no-account", "--slurm-status-command", "squeue"),
            *("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"),
            *("--seconds-between-status-checks", "2"),
            *("--set-threads", "search_shard=2", "build_families=1"),
            *("--set-resources", "search_shard:mem_mb=attempt*2000", "build_families:mem_mb=500"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
        env={
            "PATH": f"{hungry.parent}:{BIN}:/usr/local/bin:/usr/bin:/bin:/usr/sbin",
            "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT),
        },
    )
    assert done.returncode == 0, output(done)[-5000:]
    assert pq.read_table(tmp_path / target).column("id").to_pylist() == ["a", "b"]
    jobs = re.findall(r"Job \d+ has been submitted with SLURM jobid (\d+)", output(done))
    submitted = set(re.findall(r"SLURM jobid:? (\d+)", output(done))) or set(jobs)
    memory = {int(line) for line in seen.read_text().split()}
    assert len(memory) == 2
    assert min(memory) <= 3000 < max(memory)
    # A search, again after it failed, and its families.
    assert len(submitted) == 3
    assert set(re.findall(r"npm_core search .* --threads (\d+) ", output(done))) == {"2"}
