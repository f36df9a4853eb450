"""Run by test_devices.py: trainings, a prediction and fits on a device that looks like a GPU.

python tests/elsewhere.py SHARD FOLDER

Its tensors wrap those of the CPU, which do the work; an operation on both kinds is an error.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
from training_inputs import LOOP, make_task

from npm_core import npm_loss, plm_dense, training
from npm_core.architecture import HeadSettings
from npm_core.descent import Stop
from npm_core.loop import fit
from npm_core.predict import predict_windows, window_scores
from npm_core.team import Team
from npm_core.training import residues_together

_setup_privateuseone_for_python_backend("elsewhere")
torch.elsewhere.get_amp_supported_dtype = lambda: [torch.bfloat16]  # type: ignore[attr-defined]
ELSEWHERE = torch.device("elsewhere", 0)

aten = torch.ops.aten
COPIES = (aten.copy_.default, aten._to_copy.default)
INDEXED = (aten.index.Tensor, aten.index_put_.default)


class Moved(torch.Tensor):
    is_cuda = True
    held: torch.Tensor

    def __new__(cls, held: torch.Tensor) -> "Moved":
        size, strides, start = held.shape, held.stride(), held.storage_offset()
        made = torch.Tensor._make_wrapper_subclass(
            cls, size, strides, start, dtype=held.dtype, device=ELSEWHERE
        )
        made.held = held
        return made

    def tolist(self):
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return computed(operation, args, kwargs or {})


class Everywhere(TorchDispatchMode):
    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return computed(operation, args, kwargs or {})


def computed(operation, args, kwargs):
    """What an operation gives, on the device where its tensors are or that it names."""
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
    moved = [each for each in tensors if isinstance(each, Moved)]
    # As on a GPU, indices and single numbers may be the CPU's.
    asked = [] if operation in COPIES else args[:1] if operation in INDEXED else tensors
    mixed = moved and any(each.ndim and not isinstance(each, Moved) for each in asked)
    assert not mixed, f"{operation} of {[each.device for each in tensors]}"
    if operation is aten._fused_sdp_choice.default:
        return 0  # plain products and a softmax: what other ways there are depends on the device
    device = kwargs.get("device")
    to_there = isinstance(args[0], Moved) if operation in COPIES[:1] else bool(moved)
    if device is not None:
        to_there, kwargs = torch.device(device) == ELSEWHERE, kwargs | {"device": "cpu"}
    plain, options = tree_map_only(Moved, lambda each: each.held, (args, kwargs))
    found = operation(*plain, **options)
    if not to_there:
        return found
    known = {id(each.held): each for each in moved}

    def there(each: torch.Tensor) -> torch.Tensor:
        return known[id(each)] if id(each) in known else Moved(each)

    found = tree_map_only(torch.Tensor, there, found)
    return return_and_correct_aliasing(operation, args, kwargs, found) if moved else found


def together(device: torch.device, head: HeadSettings) -> int:
    return residues_together(torch.device("cuda"), head)


def endless(device: str) -> float:
    return float("inf")


def main(shard: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    # A module's weights become others, not the same with other values.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch._C._set_only_lift_cpu_tensors(True)
    # As on a GPU: several proteins share the heads, with J held or pair by pair.
    training.residues_together = together
    loop = dataclasses.replace(LOOP, steps=1, micro_batch=2, ema=0.8, clip=1.0)
    rows = np.random.default_rng(0).integers(0, 20, (2, 9, 4)).astype(np.uint8)
    for kind, room in (("conv", 0), ("untied", 0), ("untied", 1 << 31)):
        npm_loss.HELD_TOGETHER = room
        here, there = (make_task(shard, loop, kind=kind) for _ in range(2))
        fit(here, scratch=folder, metrics=folder / "m.csv", team=Team())
        with Everywhere():
            fit(there, scratch=folder, metrics=folder / "m.csv", team=Team(device=ELSEWHERE))
        for weight, moved in zip(here.parameters(), there.parameters(), strict=True):
            assert isinstance(moved, Moved)
            assert torch.allclose(weight, moved.held, rtol=1e-3, atol=1e-4)
    expected = window_scores(predict_windows(here.model.eval(), rows[0, 0], window=3))
    few = Stop(evaluations=5)
    fits = plm_dense.fit_objectives(list(rows), stop=few, device="cpu")
    plm_dense.free_bytes = endless
    with Everywhere():
        scores = window_scores(predict_windows(there.model.eval(), rows[0, 0], window=3))
        others = plm_dense.fit_objectives(list(rows), stop=few, device="elsewhere:0")
    assert np.allclose(scores, expected, atol=1e-4)
    for one, other in zip(fits, others, strict=True):
        assert np.isclose(one.objective, other.objective, rtol=1e-5)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
