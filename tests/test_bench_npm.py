"""The benchmark of the Neural Potts Model runs from end to end, and counts FLOPs as by hand."""

from dataclasses import replace

import benches
import pytest
import torch

from npm_core.architecture import HeadSettings, TrunkSettings

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bench():
    return benches.load("bench_npm")


@pytest.fixture
def tiny(bench):
    trunk = TrunkSettings("rotary", layers=1, width=8, attention_heads=2)
    return bench.Case(trunk, HeadSettings(rank=2), False, length=10, rows=3, micro_batches=(1, 2))


@pytest.mark.parametrize("kind", ["untied", "tied", "conv"])
def test_updates_and_predictions_are_measured(bench, tiny, kind, capsys):
    case = replace(tiny, head=HeadSettings(kind, rank=2, channels=3), frozen=kind == "conv")
    bench.bench_case("tiny", case, CPU, peak=1e9, compiled=False, updates=2)
    bench.bench_predict("tiny", case, CPU, count=3)
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[2] for line in lines] == [
        *2 * ["s", "residues/s", "utilisation"],
        *2 * ["sequences/s"],
    ]
    assert all(float(line[1]) > 0 < float(line[3]) for line in lines)


def test_a_micro_batch_that_does_not_fit_ends_the_search(bench, tiny, capsys, monkeypatch):
    measure = bench.time_updates

    def full(model, case, size, device, **options):
        if size == 2:
            raise torch.OutOfMemoryError
        return measure(model, case, size, device, **options)

    monkeypatch.setattr(bench, "time_updates", full)
    bench.bench_case("tiny", tiny, CPU, peak=1e9, compiled=False, updates=1)
    assert "too large" in capsys.readouterr().out.splitlines()[-1]


def test_flops_are_those_counted_by_hand(bench, tiny):
    # One layer of width 8: matrices of 4 x 64 + 2 x 8 x 32 = 768 weights
    trunk = 2 * 10 * 768 + 4 * 10**2 * 8
    head = 2 * 10 * 8 * 441 * 2 + 4 * 3 * 10 * 441 * 2 + 2 * 441 * 10 * 2**2
    assert bench.update_flops(tiny, 1) == 3 * (trunk + head)
    assert bench.update_flops(replace(tiny, frozen=True), 2) == 2 * (trunk + 3 * head)


def test_the_papers_update_is_what_its_trunk_makes_it(bench):
    flops = bench.update_flops(bench.PAPER_CASES["uniref50"], 1)
    # 403 M weights, 512 residues, forward and backward: 1.24 TFLOP, the rest attention and heads
    assert 1.24e12 < flops < 2e12
