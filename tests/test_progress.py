"""What long work says of itself where there is no terminal."""

import numpy as np
import pytest

from npm_core import progress
from npm_core.plm_sparse import fit_objective


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only where a test lets them."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_items_are_counted_with_the_time_that_the_rest_will_take(clock, capsys):
    for _ in progress.track(range(4), total=4, what="families fitted"):
        clock[0] += 8
    assert capsys.readouterr().err.splitlines() == [
        "families fitted: 2/4, 16 s, eta 16 s",
        "families fitted: 4/4, 32 s, eta 0 s",
    ]


def test_one_piece_of_work_tells_how_much_of_it_is_done(clock, capsys):
    with progress.follow("fit") as tell:
        for share in (0.0, 0.1, 0.2, 0.5):
            clock[0] += 10 if share in (0.0, 0.5) else 4
            tell(share, f"{share:.0%}")
    assert capsys.readouterr().err.splitlines() == [
        "fit: 0%, 10 s, eta unknown",
        "fit: 50%, 28 s, eta 28 s",
    ]


def test_a_fit_tells_after_each_iteration_and_at_last_that_it_is_done(rng):
    told = []
    residues = rng.integers(0, 21, (30, 12)).astype(np.uint8)
    found = fit_objective(residues, tell=lambda *state: told.append(state))
    shares, states = zip(*told, strict=True)
    assert found.converged
    assert shares[-1] == 1.0
    assert states[-1] == f"{found.evaluations} evaluations"
    assert len(told) >= found.evaluations // 2
