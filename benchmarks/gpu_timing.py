"""Timing on a GPU: between events on the stream, with a cold L2 cache, as launches and as replays of a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from timing import Contender, Results

from awsrn_fast.inference.cuda_graph import Captures

LEAST_FLUSH = 64 * 2**20
"""Bytes; at least twice the L2 cache is written."""


class GpuClock:
    """Mean seconds of calls, each after a write that leaves nothing of it in the L2 cache. What the CPU takes to launch
    is hidden by that write, unless it is longer.

    Args:
        device: the GPU.
        cuda: ``torch.cuda``, or what stands for it in tests.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._cuda = cuda
        cache = getattr(cuda.get_device_properties(device), "L2_cache_size", 0)
        self._flush = torch.empty(max(LEAST_FLUSH, 2 * cache), dtype=torch.uint8, device=device)

    def seconds(self, run: Callable[[], Any], calls: int) -> float:
        """Mean of ``calls`` calls."""
        pairs = []
        for _ in range(calls):
            start, end = (self._cuda.Event(enable_timing=True) for _ in range(2))
            self._flush.zero_()
            start.record()
            run()
            end.record()
            pairs.append((start, end))
        self._cuda.synchronize()
        return sum(start.elapsed_time(end) for start, end in pairs) / 1e3 / calls


def as_graph(contender: Contender, capture: Callable[..., Callable[..., Any]] | None = None) -> Contender:
    """The contender as replays of a CUDA graph, which is captured at its second run.

    Args:
        contender: what is captured; it works on tensors that stay.
        capture: as :class:`awsrn_fast.inference.cuda_graph.Captures`.
    """
    made: list[Callable[..., Any]] = []
    ran: list[bool] = []

    def run() -> Results:
        if not ran:  # libraries allocate at their first call
            ran.append(True)
            return contender.run()
        if not made:
            made.append((Captures() if capture is None else capture)(contender.run, ()))
        return made[0](())

    return replace(contender, name=f"{contender.name}, graph", run=run, is_graph=True)
