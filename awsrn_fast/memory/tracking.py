"""Tracking of the bytes held by live tensors, real or fake, after each operator."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tracker(TorchDispatchMode):
    """Counter of the storage of every tensor that an operator returns, until it is freed.

    An operator's internal temporaries are not counted. With fake tensors, enter it after the
    FakeTensorMode, so that it sees what the program asked for and not the fakes' own bookkeeping.

    Args:
        granularity: each storage counts as a multiple of this, as the allocator would round it.
    """

    def __init__(self, granularity: int = 1) -> None:
        super().__init__()
        self.granularity = granularity
        self.live = 0
        """Bytes now."""
        self.peak = 0
        """Most bytes at one time since the start or :meth:`restart`."""
        self.largest = 0
        """Bytes of the largest single storage since then."""
        self._storages: dict[int, weakref.ref] = {}

    def restart(self) -> None:
        """Measure the peak from here on."""
        self.peak, self.largest = self.live, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self._storages:
            return
        size = -(-storage.nbytes() // self.granularity) * self.granularity
        # A storage keeps its Python object, and with it this reference, for as long as any tensor uses it.
        self._storages[address] = weakref.ref(storage, partial(self._freed, address, size))
        self.live += size
        self.peak = max(self.peak, self.live)
        self.largest = max(self.largest, size)

    def _freed(self, address: int, size: int, reference: weakref.ref) -> None:
        del self._storages[address]
        self.live -= size
