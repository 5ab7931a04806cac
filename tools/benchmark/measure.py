"""Time, floating point operations and memory of a training step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from variants import Step


def synchronize(device: str) -> None:
    """Wait until the device has done what it was given. CPUs have."""
    if device == 'cuda':
        torch.cuda.synchronize()


def seconds(step: Step, load: Callable[[], dict], device: str, repeats: int = 1) -> float:
    """Mean time of ``repeats`` steps in a row, in seconds, until the device is done with the last. Loading is left out.

    One more step comes first and is not timed: the variant before may have left the process's memory in another state.
    """
    step.prepare()
    step(load())
    batches = [load() for _ in range(repeats)]
    synchronize(device)
    start = time.perf_counter()
    for batch in batches:
        step(batch)
    synchronize(device)
    return (time.perf_counter() - start) / repeats


def interleaved(
    steps: dict[str, Step], load: Callable[[], dict], rounds: int, device: str, repeats: int = 1
) -> dict[str, list[float]]:
    """Times of each step in seconds, one a round; a round runs each once, so that all meet the same disturbances."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(seconds(step, load, device, repeats))
    return times


def count_flops(step: Step, batch: dict) -> int:
    """Floating point operations of the convolutions and matrix products in an eager step, forward and backward.

    A multiplication and an addition are two. On the device ``meta`` nothing is computed.
    """
    with FlopCounterMode(display=False) as counter:
        step(batch)
    return counter.get_total_flops()


def state_bytes(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Bytes of parameters, buffers and optimiser state: what a model holds between steps."""
    state = [value for group in optimizer.state.values() for value in group.values()]
    return total_bytes([*model.parameters(), *model.buffers(), *state])


def total_bytes(tensors: Iterable) -> int:
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))


def peak_bytes_above_start(step: Step, batch: dict, device: str) -> int:
    """The most bytes that PyTorch's allocator has given out at once during a step, beyond those at its start.

    On a GPU the allocator keeps the count. On a CPU it is added up from the allocations and releases that the profiler sees:
    all tensors, but not what a library allocates by itself, such as oneDNN's scratch pads.
    """
    step.prepare()
    if device == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(batch)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(batch)
    # The public events leave out what is allocated inside an operation.
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == '[memory]']
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate((event.nbytes() for event in events), initial=0))
