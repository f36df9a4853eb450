"""What a model works on: the device, and the threads of a CPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from npm_core.errors import SettingsError


def usable_device(name: str) -> torch.device:
    """The device of a name: cpu, cuda, or cuda:1 for the second GPU.

    On a GPU, from then on, in the whole process, attention is not left to cuDNN, and convolutions
    of float32 are computed in float32.

    Raises:
        SettingsError: It is of another kind, or not there.
    """
    kind, _, number = name.partition(":")
    if name not in ("cpu", "cuda") and not (kind == "cuda" and number.isdecimal()):
        raise SettingsError(f"device {name!r}, expected cpu, cuda or, of several GPUs, cuda:1")
    there = torch.cuda.device_count()
    if kind == "cuda" and int(number or 0) >= there:
        raise SettingsError(
            f"device {name!r}: {there or 'no'} GPU can be reached; use --device cpu"
        )
    if kind == "cuda":
        # It makes a plan for every new length of a batch, longer than a small model's update takes.
        torch.backends.cuda.enable_cudnn_sdp(False)
        # As matrix products are; those of the conv head would be in TF32, with 11 bits.
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(name)


@contextmanager
def within_memory(cure: str) -> Iterator[None]:
    """Say what to do where a GPU has too little memory for what is done inside.

    Raises:
        SettingsError: It has.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        # That there is too little, and for how much; what follows is for programmers.
        what = ". ".join(str(error).split(". ")[:2])
        raise SettingsError(f"{what}; {cure}") from error


def use_threads(count: int) -> None:
    """Let torch work with so many threads, of which more than there are cores are of no use."""
    torch.set_num_threads(min(count, os.cpu_count() or 1))
