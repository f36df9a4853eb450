"""Speed and memory of the Neural Potts Model: forms of the loss, whole updates, prediction.

    python benchmarks/bench_npm.py [--large] > npm.tsv                   on a CPU, minutes
    python benchmarks/bench_npm.py --paper --device cuda > npm_gpu.tsv   one GPU, minutes

Every form of the loss runs in a process of its own, so that its peak memory is its own; `held` is
the naive way, with J as a tensor. `--large` adds L 512, d' 128, M 30. `--paper` measures updates
and predictions of the paper's two models: the Pfam model at batch 64, L 512, M 100, and the
UniRef50 model at the largest micro-batch that fits. Weights and data are random.

A utilisation is the FLOPs of the model (a backward pass counts as two forward passes) over the
time and over `--peak`: on a CPU what its matrix product reaches, on a GPU the bf16 peak. On one CPU
thread seconds are CPU seconds, which other work on the machine changes little; else wall time.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from npm_core import memory
from npm_core.architecture import PAPER, HeadSettings, TrunkSettings
from npm_core.devices import usable_device
from npm_core.families import Families
from npm_core.flops import training_flops
from npm_core.loop import AHEAD
from npm_core.model import K, NeuralPottsModel, UntiedHead
from npm_core.npm_loss import cheapest_form, npm_loss
from npm_core.parallel import map_in_order
from npm_core.predict import embed_sequences, window_scores
from npm_core.tables import Family, write_families
from npm_core.training import NpmTask
from npm_core.training_settings import FORMS, LoopSettings, ObjectiveSettings, TrainSettings
from npm_core.trunks import build_trunk

GPU_PEAK = 790e12
"""FLOP/s of an H100 or H200 in dense bfloat16, as its users reach it."""

SMALL = [(128, 128, 16, 30), (256, 128, 16, 30)]
LARGE = [(512, 256, 128, 30)]
"""L, d, d', M."""


@dataclass(frozen=True)
class Case:
    """A model and what it trains on.

    Attributes:
        trunk, head, frozen: Of the model.
        length, rows: L of each query, M sampled of its alignment.
        micro_batches: Proteins of an update, one number after the other while they fit.
    """

    trunk: TrunkSettings
    head: HeadSettings
    frozen: bool
    length: int
    rows: int
    micro_batches: tuple[int, ...]


SMALL_TRUNK = TrunkSettings("rotary", layers=3, width=96, attention_heads=4)
CASES = {
    "small": Case(SMALL_TRUNK, HeadSettings(rank=8), False, 128, 64, (8,)),
    "small tied": Case(SMALL_TRUNK, HeadSettings("tied", rank=8), False, 128, 64, (8,)),
    "small conv": Case(SMALL_TRUNK, HeadSettings("conv", rank=8, channels=16), True, 128, 64, (8,)),
}
PAPER_CASES = {
    "uniref50": Case(*PAPER["uniref50"], 512, 30, (8, 32, 64, 128, 256)),
    "pfam_clan": Case(*PAPER["pfam_clan"], 512, 100, (64,)),
}


# --- What is reported ---------------------------------------------------------------------------


def row(name: str, value: float, unit: str, megabytes: float, note: str = "") -> None:
    print(f"{name}\t{value:.4g}\t{unit}\t{megabytes:.0f}\t{note}", flush=True)


def now(device: torch.device) -> float:
    """Seconds on the clock that counts: CPU time of one thread, or the wall's."""
    if device.type == "cpu" and torch.get_num_threads() == 1:
        return time.process_time()
    wait(device)
    return time.perf_counter()


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """Median seconds of `work` after one warm-up."""
    times = []
    for _ in range(repeats + 1):
        started = now(device)
        work()
        times.append(now(device) - started)
    return sorted(times[1:])[repeats // 2]


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    memory.reset_peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_megabytes(device: torch.device) -> float:
    """Largest memory since `reset_peak`: on the GPU, or resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return memory.peak_mib() * memory.MIB / 1e6


def matrix_product_peak(device: torch.device) -> float:
    """FLOP/s of a float32 matrix product."""
    a = torch.randn(1024, 1024, device=device)
    return 2 * 1024**3 / seconds(lambda: a @ a, device, repeats=9)


# --- Forms of the loss --------------------------------------------------------------------------


def bench_form(form: str, sizes: tuple[int, ...], device: torch.device) -> None:
    """Forward and backward pass of the untied head and its loss for one protein."""
    length, width, rank, depth = sizes
    torch.manual_seed(0)
    head = UntiedHead(width, HeadSettings(rank=rank)).to(device)
    fields = torch.zeros(length, K, device=device)
    rows = torch.randint(0, K, (depth, length), device=device)
    e = torch.randn(length, width, device=device, requires_grad=True)
    reset_peak(device)
    before = peak_megabytes(device)

    def work() -> None:
        npm_loss(fields, head(e), rows, ObjectiveSettings(form=form)).total.backward()

    taken = seconds(work, device)
    chosen = "chosen" if form == cheapest_form(length=length, rank=rank, depth=depth) else ""
    name = f"loss {form} L={length} d={width} d'={rank} M={depth}"
    row(name, taken, "s", peak_megabytes(device) - before, chosen)


def bench_forms(sizes: tuple[int, ...], args: argparse.Namespace) -> None:
    """Each form in a process of its own, and the chosen one against J held."""
    found: dict[str, tuple[float, float]] = {}
    for form in FORMS[1:]:
        flags = ["--form", form, "--sizes", *map(str, sizes), "--device", args.device]
        command = [sys.executable, __file__, *flags, "--threads", str(args.threads)]
        line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        print(line, end="", flush=True)
        _, least, _, megabytes, *_ = line.split("\t")
        found[form] = float(least), float(megabytes)
    length, _, rank, depth = sizes
    chosen = cheapest_form(length=length, rank=rank, depth=depth)
    (naive, held), (taken, used) = found["held"], found[chosen]
    note = f"{chosen} against held; memory 1/{held / used:.1f}"
    row(f"loss L={length} d'={rank} M={depth}", naive / taken, "times faster", used, note)


# --- Whole updates ------------------------------------------------------------------------------


def made(case: Case, device: torch.device) -> NeuralPottsModel:
    """The model of a case with random weights, drawn where it will be."""
    with device:
        model = NeuralPottsModel(build_trunk(case.trunk), case.head)
    # fair-esm makes some of its tables on the CPU all the same.
    return model.to(device)


def update_flops(case: Case, proteins: int) -> float:
    """FLOPs of one update."""
    frozen, length, rows = case.frozen, case.length, case.rows
    return proteins * training_flops(case.trunk, case.head, length, rows, frozen=frozen)


def bench_case(
    name: str, case: Case, device: torch.device, *, peak: float, compiled: bool, updates: int
) -> None:
    """Updates of a model on families read from disk, one micro-batch each."""
    torch.manual_seed(0)
    model = made(case, device)
    # fair-esm's layers make torch's compiler fail.
    if compiled and case.trunk.kind == "rotary":
        for layer in model.trunk.transformer_layers():
            layer.compile(dynamic=True)
    for size in case.micro_batches:
        reset_peak(device)
        try:
            taken, waiting = time_updates(model, case, size, device, updates=updates)
        except torch.OutOfMemoryError:
            row(f"update {name} B={size}", float("nan"), "s", peak_megabytes(device), "too large")
            break
        rate = update_flops(case, size) / taken
        label = f"update {name} B={size} L={case.length} M={case.rows}"
        used = peak_megabytes(device)
        row(label, taken, "s", used, f"{waiting:.2%} of it waiting for data")
        row(label, size * case.length / taken, "residues/s", used)
        row(label, rate / peak, "utilisation", used, f"{rate / 1e12:.4g} TFLOP/s")
        if device.type == "cuda":
            torch.cuda.empty_cache()


def time_updates(
    model: NeuralPottsModel, case: Case, size: int, device: torch.device, *, updates: int
) -> tuple[float, float]:
    """Seconds of one update, and the share of them spent waiting for data."""
    precision = "bfloat16" if device.type == "cuda" else "float32"
    loop = LoopSettings(steps=updates + 1, batch=size, micro_batch=size, precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "families.parquet"
        write_families(shard, random_families(2 * size, case), {})
        task = NpmTask(
            model,
            Families([shard]),
            train=TrainSettings(rows=case.rows, frozen=case.frozen),
            objective=ObjectiveSettings(),
            loop=loop,
        )
        optimizer = torch.optim.AdamW(
            [w for group in task.parameter_groups() for w in group["params"]], fused=True
        )
        steps = range(updates + 1)
        ahead = map_in_order(lambda step: task.batches(step, 0, 1), steps, workers=1, held=AHEAD)
        waited = 0.0
        for step in steps:
            asked = time.perf_counter()
            (batch,) = next(ahead)
            waited += time.perf_counter() - asked
            if step == 1:
                started, wall, waited = now(device), time.perf_counter(), 0.0
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                loss, _ = task(batch.to(device))
                (loss / size).backward()
            torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
            optimizer.step()
        taken, wall = now(device) - started, time.perf_counter() - wall
    return taken / updates, waited / wall


def random_families(count: int, case: Case) -> list[Family]:
    rng = np.random.default_rng(0)
    depth = 2 * case.rows
    return [
        Family(
            f"f{number}",
            rng.integers(0, 20, (depth, case.length)).astype(np.uint8),
            rng.uniform(0.1, 1, depth).astype(np.float32),
        )
        for number in range(count)
    ]


# --- Prediction ---------------------------------------------------------------------------------


def bench_predict(name: str, case: Case, device: torch.device, count: int) -> None:
    """Contact scores of sequences of half to all of L, read one by one and together."""
    model = made(case, device).eval()
    rng = np.random.default_rng(0)
    lengths = rng.integers(case.length // 2, case.length + 1, count)
    states = [
        (number, rng.integers(0, 20, length).astype(np.uint8))
        for number, length in enumerate(lengths)
    ]

    def predict(batches: list[list[tuple[int, np.ndarray]]]) -> None:
        for batch in batches:
            for _, windows in embed_sequences(model, batch, window=512):
                window_scores(windows)

    for how, batches in (("one by one", [[s] for s in states]), ("together", [states])):
        reset_peak(device)
        taken = seconds(partial(predict, batches), device, repeats=1)
        label = f"predict {name} L={case.length // 2}-{case.length} {how}"
        row(label, count / taken, "sequences/s", peak_megabytes(device))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--large", action="store_true", help="Add the loss at L 512, d' 128.")
    parser.add_argument("--paper", action="store_true", help="The paper's models alone.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--updates", type=int, default=5, help="Timed of each model. Default: 5.")
    parser.add_argument("--compile", action="store_true", help="Compile the Transformer's layers.")
    parser.add_argument("--peak", type=float, help="FLOP/s that count as full utilisation.")
    parser.add_argument("--form", choices=FORMS[1:], help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=int, nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = usable_device(args.device)
    if args.form:
        bench_form(args.form, tuple(args.sizes), device)
        return
    print("what\tvalue\tunit\tpeak MB\tnote", flush=True)
    peak = args.peak or (GPU_PEAK if device.type == "cuda" else matrix_product_peak(device))
    if not args.paper:
        for sizes in SMALL + (LARGE if args.large else []):
            bench_forms(sizes, args)
    cases = PAPER_CASES if args.paper else CASES
    for name, case in cases.items():
        bench_case(name, case, device, peak=peak, compiled=args.compile, updates=args.updates)
    for name, case in list(cases.items())[: 1 if not args.paper else None]:
        bench_predict(name, case, device, count=64 if args.paper else 16)
        if not args.paper:
            bench_predict(name, replace(case, length=512), device, count=4)


if __name__ == "__main__":
    main()
