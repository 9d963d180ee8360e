"""Copies between images on the CPU and maps on a GPU, through pinned memory, while the GPU computes on others."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

Result = Callable[[], Tensor]
"""Waits for a result, fp32 on the CPU; valid until the second :meth:`Transfers.up` after its own."""


class Transfers:
    """Two lanes of buffers: the copies of one run while the GPU computes on the other.

    Order: :meth:`up`, the computation on the current stream, :meth:`down`.

    Args:
        device: the GPU.
        cuda: ``torch.cuda``, or its replacement in tests.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._cuda, self._device = cuda, device
        self._copies = cuda.Stream(device)
        self._lanes = [_Lane(cuda, device), _Lane(cuda, device)]
        self._turn = 0

    def up(self, image: Tensor) -> Tensor:
        """``image [N, 3, H, W]`` on the device in channels_last, for what the current stream does next."""
        self._turn = 1 - self._turn
        lane, current = self._lanes[self._turn], self._cuda.current_stream(self._device)
        lane.sent.synchronize()  # or the pinned buffer would be written while it is read
        pinned, on_device = lane.pinned_in.like(image), lane.device_in.like(image)
        pinned.copy_(image)
        self._copies.wait_event(lane.computed)
        with self._cuda.stream(self._copies):
            on_device.copy_(pinned, non_blocking=True)
        lane.sent.record(self._copies)
        current.wait_event(lane.sent)
        return on_device

    def down(self, result: Tensor) -> Result:
        """The result ``[N, 3, sH, sW]`` of what :meth:`up` gave last, on its way to the CPU."""
        lane, current = self._lanes[self._turn], self._cuda.current_stream(self._device)
        current.wait_event(lane.received)  # the device's buffer still holds the result before
        on_device, pinned = lane.device_out.like(result), lane.pinned_out.like(result)
        on_device.copy_(result)
        lane.computed.record(current)
        self._copies.wait_event(lane.computed)
        with self._cuda.stream(self._copies):
            pinned.copy_(on_device, non_blocking=True)
        lane.received.record(self._copies)

        def wait() -> Tensor:
            lane.received.synchronize()
            return pinned

        return wait


class _Lane:
    def __init__(self, cuda: Any, device: torch.device) -> None:
        self.sent, self.computed, self.received = cuda.Event(), cuda.Event(), cuda.Event()
        host = torch.device("cpu")
        pins = device.type == "cuda"
        self.pinned_in, self.pinned_out = _Buffer(host, pins), _Buffer(host, pins)
        self.device_in, self.device_out = _Buffer(device), _Buffer(device)


class _Buffer:
    """Memory that grows to the largest map it has held."""

    def __init__(self, device: torch.device, pinned: bool = False) -> None:
        self._device, self._pinned = device, pinned
        self._values = self._new(0)

    def _new(self, count: int) -> Tensor:
        return torch.empty(count, dtype=torch.float32, device=self._device, pin_memory=self._pinned)

    def like(self, given: Tensor) -> Tensor:
        """A map of the size of ``given``, fp32 in channels_last, in the buffer."""
        n, c, h, w = given.shape
        if self._values.numel() < prod(given.shape):
            # The memory of the one before goes back to torch's allocator, which knows what this stream still does; the
            # other stream's work has ended, or is waited for.
            if self._values.is_cuda:
                torch.cuda.synchronize(self._values.device)
            self._values = self._new(prod(given.shape))
        return self._values[: prod(given.shape)].view(n, h, w, c).permute(0, 3, 1, 2)
