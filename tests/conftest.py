"""What every test may use: a seeded generator, and the real data where NPM_REAL_DATA names it."""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


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
