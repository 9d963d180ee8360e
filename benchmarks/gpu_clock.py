"""Timing on a GPU: between events on the stream, with a cold L2 cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

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
