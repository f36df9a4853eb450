"""Speed and memory of the Neural Potts Model: each form of the loss, the trunk, prediction.

    python benchmarks/bench_npm.py [--large] [--device cuda] > npm.tsv

Every form of the loss runs in a process of its own, so that its peak memory is its own. `--large`
adds the paper's sizes; on a CPU the form that holds J needs 2 GB and 10 s a pass there.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from npm_core.model import (
    PAPER,
    HeadSettings,
    K,
    NeuralPottsModel,
    TrunkSettings,
    UntiedHead,
    build_trunk,
    count_parameters,
)
from npm_core.objective import FORMS, ObjectiveSettings, cheapest_form, npm_loss
from npm_core.predict import contact_scores, predict_windows

SMALL = [(128, 128, 16, 30), (256, 128, 16, 30)]
LARGE = [(512, 256, 128, 30), (512, 768, 128, 100), (512, 1024, 256, 30)]
"""L, d, d', M."""


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """Median wall seconds of `work` after one warm-up."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return sorted(times[1:])[repeats // 2]


def peak_megabytes(device: torch.device) -> float:
    """Largest memory of this process so far: on the GPU, or resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def bench_form(form: str, sizes: tuple[int, int, int, int], device: torch.device) -> None:
    """One row: forward and backward of the untied head and its loss for one protein."""
    length, width, rank, depth = sizes
    torch.manual_seed(0)
    head = UntiedHead(width, HeadSettings(rank=rank)).to(device)
    fields = torch.zeros(length, K, device=device)
    rows = torch.randint(0, K, (depth, length), device=device)
    e = torch.randn(length, width, device=device, requires_grad=True)
    before = peak_megabytes(device)

    def work() -> None:
        npm_loss(fields, head(e), rows, ObjectiveSettings(form=form)).total.backward()

    taken = seconds(work, device)
    chosen = "chosen" if form == cheapest_form(length=length, rank=rank, depth=depth) else ""
    name = f"loss {form} L={length} d={width} d'={rank} M={depth}"
    print(row(name, taken, "s", peak_megabytes(device) - before, chosen), flush=True)


def bench_trunk(settings: TrunkSettings, batch: int, length: int, device: torch.device) -> None:
    """Residues a second through a trunk, forward and backward, and its share of FLOPs."""
    trunk = build_trunk(settings).to(device)
    tokens = torch.randint(0, 20, (batch, length), device=device)
    lengths = torch.full((batch,), length, device=device)

    def work() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            trunk(tokens, lengths).sum().backward()

    taken = seconds(work, device)
    flops = 6 * batch * length * count_parameters(trunk)
    name = f"trunk {settings.kind} {settings.layers}x{settings.width} B={batch} L={length}"
    note = f"{flops / taken / 1e12:.3f} TFLOP/s"
    print(row(name, batch * length / taken, "residues/s", peak_megabytes(device), note), flush=True)


def bench_predict(length: int, device: torch.device) -> None:
    """Contact scores of one sequence."""
    trunk = TrunkSettings("rotary", layers=3, width=96, attention_heads=4)
    model = NeuralPottsModel(build_trunk(trunk), HeadSettings(rank=16)).to(device).eval()
    states = torch.randint(0, 20, (length,)).numpy().astype("uint8")
    taken = seconds(lambda: contact_scores(predict_windows(model, states, window=512)), device)
    print(row(f"predict scores L={length}", taken, "s", peak_megabytes(device), ""), flush=True)


def row(name: str, value: float, unit: str, megabytes: float, note: str) -> str:
    return f"{name}\t{value:.4g}\t{unit}\t{megabytes:.0f}\t{note}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--large", action="store_true", help="Add the paper's sizes.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--form", choices=FORMS[1:], help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=int, nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    if args.form:
        bench_form(args.form, tuple(args.sizes), device)
        return
    print("what\tvalue\tunit\tpeak MB\tnote", flush=True)
    for sizes in SMALL + (LARGE[: 3 if device.type == "cuda" else 1] if args.large else []):
        for form in FORMS[1:]:
            flags = ["--form", form, "--sizes", *map(str, sizes), "--device", args.device]
            subprocess.run(
                [sys.executable, __file__, *flags, "--threads", str(args.threads)], check=True
            )
    bench_trunk(TrunkSettings("rotary", 3, 96, 4), 16, 128, device)
    if args.large and device.type == "cuda":
        bench_trunk(PAPER["uniref50"][0], 16, 512, device)
        bench_trunk(PAPER["pfam_clan"][0], 64, 512, device)
    for length in (128, 512):
        bench_predict(length, device)


if __name__ == "__main__":
    main()
