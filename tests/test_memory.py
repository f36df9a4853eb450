"""What memory is left, by the files in which Linux says so."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from npm_core import memory
from npm_core.errors import SettingsError
from npm_core.memory import Room


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Writes files of a machine that has 4000 KiB left, and makes them its only ones."""

    def write(**files):
        for name, text in {
            "proc/meminfo": "MemFree: 1 kB\nMemAvailable: 4000 kB\n",
            **files,
        }.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    def path(*parts):
        return tmp_path / str(Path(*parts)).lstrip("/")

    monkeypatch.setattr(memory, "Path", path)
    return write


def group(folder, limit, used, cached):
    return {
        f"sys/fs/cgroup/{folder}memory.max": f"{limit}\n",
        f"sys/fs/cgroup/{folder}memory.current": f"{used}\n",
        f"sys/fs/cgroup/{folder}memory.stat": f"anon 7\ninactive_file {cached}\n",
    }


def test_without_a_limit_the_machine_says_what_is_left(machine):
    machine(**{"proc/self/cgroup": "0::/\n"}, **group("", "max", 999, 0))
    assert memory.available_bytes() == 4000 * 1024


def test_where_nothing_can_be_read_nothing_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "Path", lambda *_: tmp_path / "none")
    assert memory.available_bytes() is None
    memory.require(10**18, "a fit", "use less")


def test_a_limit_leaves_what_is_not_used_and_files_that_can_go(machine):
    machine(**{"proc/self/cgroup": "0::/\n"}, **group("", 1000, 900, 250))
    assert memory.available_bytes() == 350


def test_a_group_above_its_limit_leaves_nothing(machine):
    machine(**{"proc/self/cgroup": "0::/\n"}, **group("", 1000, 1100, 0))
    assert memory.available_bytes() == 0


def test_the_tightest_of_the_groups_around_a_job_counts(machine):
    groups = group("slurm/job/", 1000, 100, 0) | group("slurm/job/step/", "max", 90, 0)
    machine(**{"proc/self/cgroup": "0::/slurm/job/step\n"}, **groups)
    assert memory.available_bytes() == 900


def test_groups_of_version_1_are_read_too(machine):
    folder = "sys/fs/cgroup/memory/job"
    machine(
        **{
            "proc/self/cgroup": "5:devices:/\n4:memory:/job\n0::/\n",
            f"{folder}/memory.limit_in_bytes": "1000",
            f"{folder}/memory.usage_in_bytes": "800",
            f"{folder}/memory.stat": "inactive_file 5\ntotal_inactive_file 50\n",
        }
    )
    assert memory.available_bytes() == 250


def test_of_fits_in_processes_the_largest_must_fit_beside_these(monkeypatch):
    others = 2 * (memory.PROCESS_BYTES + 10)
    monkeypatch.setattr(memory, "available_bytes", lambda: others + 8)
    knobs = {"workers": 2, "standing": 10, "cure": "lower --threads"}
    assert memory.shared_room({"a": 1, "b": 8, "c": 5}, **knobs).size == 8
    assert memory.shared_room({}, **knobs).size == 8
    with pytest.raises(SettingsError, match=r"fitting b beside 400 MiB of 2 processes needs"):
        memory.shared_room({"a": 1, "b": 9, "c": 5}, **knobs)
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    assert memory.shared_room({"a": 1 << 60}, **knobs).size == float("inf")


def test_work_waits_until_there_is_room_for_it_and_too_much_of_it_is_alone():
    room, under_way, most = Room(10), [], []

    def work(needed: int) -> None:
        with room.held(needed):
            under_way.append(needed)
            most.append(list(under_way))
            time.sleep(0.002)
            under_way.remove(needed)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [3, 4, 6, 11, 2, 2, 2, 9] * 6))
    assert len(most) == 48
    assert all(sum(together) <= 10 or together == [11] for together in most)
    assert max(map(len, most)) > 1


def test_work_that_fails_gives_its_memory_back():
    room = Room(10)
    with pytest.raises(ZeroDivisionError), room.held(10):
        _ = 1 / 0
    with room.held(10):
        pass


def test_a_step_that_cannot_fit_is_refused_with_figures_and_cure(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 100 * memory.MIB)
    memory.require(99 * memory.MIB, "a fit", "use less")
    with pytest.raises(SettingsError, match=r"a fit needs 101 MiB .* 100 MiB .*; use less"):
        memory.require(101 * memory.MIB, "a fit", "use less")


def test_the_peak_is_measured_anew():
    memory.reset_peak()
    before = memory.peak_mib()
    block = np.ones(8_000_000)
    assert memory.peak_mib() >= before + 50
    assert block.any()
