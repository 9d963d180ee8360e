"""CUDA graphs of a network, one a shape: a replay is one launch for the CPU, however many kernels the network has."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from awsrn_fast.errors import is_out_of_memory

Function = Callable[..., tuple[Tensor, ...]]
"""Of tensors on the device, without any decision that depends on their values."""
Replay = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]
MOST_GRAPHS = 12
"""The tiles of an image have up to nine shapes and places, inside, at its sides and in its corners."""
MOST_SEEN = 256
"""Shapes that are remembered as seen once."""


class Graphs:
    """Calls of functions on CUDA tensors, each captured as a graph when its shapes come for the second time.

    What comes once, as most whole images do, runs as it is: a capture takes about as long as a run. A graph that cannot
    be captured is given up, with all others, and :attr:`reason` says why. Not for use by several threads at once.

    Args:
        capture: function that captures another on tensors like those given, such as :class:`Captures`.
        most: number of graphs that are kept. The one whose last use is longest ago makes room for another.
    """

    def __init__(self, capture: Callable[[Function, Sequence[Tensor]], Replay], most: int = MOST_GRAPHS) -> None:
        self.most, self._capture = most, capture
        self.reason = ""
        """Why nothing is captured any more; empty: it is."""
        self._graphs: OrderedDict[Hashable, Replay] = OrderedDict()
        self._seen: OrderedDict[Hashable, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._graphs)

    def __call__(self, key: Hashable, function: Function, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """``function(*inputs)``; the results are valid until the next call.

        Args:
            key: what the function depends on beyond the inputs' shapes.
            function: function to run.
            inputs: tensors on the device.

        Raises:
            RuntimeError: what the function raises; out of memory only where no graph is left that holds some.
        """
        known = (key, tuple((x.shape, x.stride(), x.dtype) for x in inputs))
        replay = self._graphs.get(known)
        if replay is not None:
            self._graphs.move_to_end(known)
            return replay(inputs)
        if known in self._seen and not self.reason:
            replay = self._captured(known, function, inputs)
            if replay is not None:
                return replay(inputs)
        self._seen[known] = None
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)
        try:
            return function(*inputs)
        except RuntimeError as error:
            if not is_out_of_memory(error) or not self._graphs:
                raise
        # Outside of the handler, whose traceback keeps tensors alive.
        self._give_up("the device ran out of memory beside them")
        return function(*inputs)

    def _captured(self, known: Hashable, function: Function, inputs: Sequence[Tensor]) -> Replay | None:
        while len(self._graphs) >= self.most:
            self._graphs.popitem(last=False)
        try:
            self._graphs[known] = self._capture(function, inputs)
            return self._graphs[known]
        except RuntimeError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reason = "the device ran out of memory" if is_out_of_memory(error) else lines[0]
        self._give_up(reason)
        return None

    def _give_up(self, reason: str) -> None:
        self._graphs.clear()
        self.reason = reason
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        warnings.warn(f"CUDA graphs are not used, kernels are launched one by one: {reason}", stacklevel=4)


class Captures:
    """Capture of functions on a GPU; the graphs share one pool of memory, since only one runs at a time.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None  # torch's handle, whose type is private
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, function: Function, inputs: Sequence[Tensor]) -> Replay:
        """Capture ``function``, which has run before on such inputs: libraries allocate at their first call."""
        if self._stream is None:  # torch's own stream for captures is one for all threads
            self._pool, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(self._device)
        own = [torch.empty_like(x) for x in inputs]
        for mine, given in zip(own, inputs, strict=True):
            mine.copy_(given)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile. On entry it frees what the run before has left in torch's cache.
        with torch.cuda.device(self._device):
            capture = torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local")
            with capture:
                results = function(*own)

        def replay(given: Sequence[Tensor]) -> tuple[Tensor, ...]:
            for mine, tensor in zip(own, given, strict=True):
                mine.copy_(tensor, non_blocking=True)
            with torch.cuda.device(self._device):  # on whose current stream it runs
                graph.replay()
            return results

        return replay
