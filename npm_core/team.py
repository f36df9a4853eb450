"""The processes that train together under `torchrun`: weights copied (DDP) or sharded (FSDP2)."""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from npm_core.devices import usable_device
from npm_core.errors import SettingsError


@dataclass(frozen=True)
class Team:
    """This process among those that train together.

    Attributes:
        rank, world: Its number among how many.
        device: Where it works.
        sharded: Each process holds a share of the weights, gradients and moments, not all.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    sharded: bool = False

    @property
    def first(self) -> bool:
        return self.rank == 0

    def largest(self, number: int) -> int:
        """The largest number that any process gives. All processes call this together."""
        if self.world == 1:
            return number
        numbers = torch.tensor(number, device=self.device)
        distributed.all_reduce(numbers, distributed.ReduceOp.MAX)
        return int(numbers)


@contextmanager
def join(device: str, *, sharded: bool = False) -> Iterator[Team]:
    """Join the processes that `torchrun` started, or be the only one.

    Raises:
        SettingsError: The device is not there, or one process alone is asked to shard.
    """
    place = usable_device(device)
    if "RANK" not in os.environ:
        if sharded:
            raise SettingsError("--sharded needs several processes; start them with torchrun")
        yield Team(device=place)
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if place.type == "cuda":
        place = usable_device(f"cuda:{local}")
        torch.cuda.set_device(place)
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size(), place, sharded)
        # None leaves while another still waits for what it sent.
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def shared(task: nn.Module, layers: Iterable[nn.Module], team: Team) -> nn.Module:
    """A module that trains with its peers: what it returns is called in the task's place.

    Args:
        task: Whole, with the same weights in each process. Sharded, it changes in place.
        layers: Parts of it that are gathered one after the other when weights are sharded.
        team: This process and its peers.
    """
    if team.sharded:
        mesh = init_device_mesh(team.device.type, (team.world,))
        for layer in layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(task, mesh=mesh)
        register_fsdp_forward_method(task, "validate")
        return task
    return DistributedDataParallel(task) if team.world > 1 else task


def gradients_of(module: nn.Module, *, complete: bool) -> AbstractContextManager[None]:
    """A context for a backward pass; peers exchange gradients only in the one that completes."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(complete)
    elif isinstance(module, DistributedDataParallel) and not complete:
        return module.no_sync()
    return nullcontext()


def let_go(module: nn.Module) -> None:
    """Forget weights gathered for a forward pass without a backward pass, before they change."""
    if isinstance(module, FSDPModule):
        module.reshard()


def whole(tensor: Tensor) -> Tensor:
    """A tensor of which each process may hold a share. All processes call this together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_share(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds; the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def placed_like(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, which each process has, on the device of another and sharded like it."""
    value = value.to(like.device)
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def whole_weights(module: nn.Module) -> dict[str, Tensor]:
    """Weights by name, on the CPU. All processes call this together."""
    return {name: whole(value.detach()).cpu() for name, value in module.state_dict().items()}
