"""What every test may use: a seeded generator, and the real data where NPM_REAL_DATA names it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

# Before torch is imported. Two processes test at a time: with threads for every core each would
# spin where it waits for a core that the other has.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes minutes, so that two processes end together."""
    items.sort(key=lambda item: "slow" not in item.keywords)


@pytest.fixture(scope="session", autouse=True)
def no_proxy() -> Iterator[None]:
    """Servers of the tests are asked themselves, also where a proxy stands before the network."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("no_proxy", "NO_PROXY"):
            environment.setenv(name, "127.0.0.1,localhost")
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


@pytest.fixture
def pipe() -> Iterator[Path]:
    """What bash puts for <(command): one sequence, which can be read once."""
    reader, writer = os.pipe()
    os.write(writer, b">P1\nMKV\n")
    os.close(writer)
    yield Path(f"/dev/fd/{reader}")
    os.close(reader)


@pytest.fixture
def hangs_up() -> Iterator[None]:
    """SIGHUP does what it does in a terminal, though the tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real proteins, or a skip that says how to get it."""
    folder = os.environ.get("NPM_REAL_DATA")
    if not folder:
        pytest.skip("set NPM_REAL_DATA to the folder of real proteins to run this test")
    return Path(folder)


@pytest.fixture(scope="session")
def golden(real_data: Path) -> Path:
    """CCMpred's golden outputs, beside the real data."""
    folder = real_data.parent / "golden"
    if not folder.is_dir():
        pytest.skip(f"no golden values at {folder}")
    return folder


@pytest.fixture(scope="session")
def toy_sequences(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A FASTA file of a family and of strangers to it, and one more sequence of the family."""
    rng = np.random.default_rng(1)

    def evolved(letters: np.ndarray, changes: float) -> np.ndarray:
        changed = rng.random(len(letters)) < changes
        return np.where(changed, rng.choice(list("ARNDCQEGHILKMFPSTWYV"), len(letters)), letters)

    ancestor = evolved(np.full(60, "A"), 1)
    records = {f"member{number}": evolved(ancestor, 0.35) for number in range(12)}
    records |= {f"decoy{number}": evolved(np.full(50, "A"), 1) for number in range(6)}
    fasta = tmp_path_factory.mktemp("toy") / "toy.fasta"
    text = "".join(f">{name}\n{''.join(letters)}\n" for name, letters in records.items())
    fasta.write_text(text)
    return fasta, "".join(evolved(ancestor, 0.2))


@pytest.fixture(scope="session")
def toy_database(toy_sequences: tuple[Path, str]) -> tuple[str, str]:
    """The prefix of an HH-suite database of them made by the real programs, and that sequence."""
    from npm_core.hhsuite_database import build_database

    fasta, member = toy_sequences
    prefix = fasta.with_suffix("")
    build_database(fasta, prefix)
    return str(prefix), member


@pytest.fixture
def shard(tmp_path, rng) -> Path:
    """A table of five small families, to train on."""
    from npm_core.tables import Family, write_families

    def family(number: int) -> Family:
        residues = rng.integers(0, 20, (6, 9 + number)).astype(np.uint8)
        return Family(f"f{number}", residues, rng.uniform(0.1, 1, 6).astype(np.float32))

    write_families(tmp_path / "f.parquet", map(family, range(5)), {}, rows_per_group=2)
    return tmp_path / "f.parquet"


@pytest.fixture
def flags(shard, tmp_path) -> list[str]:
    """Those of `train` for four updates of a small model on that table."""
    text = (
        f"--families {shard} --init random --scratch {tmp_path / 'scratch'} --steps 4 --batch 4 "
        "--trunk-layers 1 --trunk-width 8 --trunk-attention-heads 2 --head-rank 2 --rows 3"
    )
    return text.split()


@pytest.fixture
def checkpoint(tmp_path):
    """The folder of a small model that was trained on 20 residues at a time."""
    from model_inputs import make_model

    from npm_core.checkpoints import save_model

    save_model(tmp_path / "npm", make_model(), {"TrainSettings": {"max_length": 20}})
    return tmp_path / "npm"
