"""Weights in the layout that a kernel takes them in, kept beside the weights that they were made from."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import torch
from torch import Tensor, nn

_memcmp = (ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)).memcmp
_memcmp.argtypes, _memcmp.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t), ctypes.c_int


class Prepared(nn.Module):
    """Base of modules whose fused form caches its weights in the layout of the CPU kernels of this machine.

    The cache belongs to no state dict, pickle or deep copy (another machine's kernels may want another layout). Every
    call compares the weights with those it was made from, value for value, and remakes it if they differ: version
    counters miss what is written through ``.data``, NumPy views or shared memory. For the weights of improved-s the
    comparison takes about 0.1 ms.

    A subclass sets :attr:`is_folded` and gives :meth:`sources` and :meth:`prepare`.
    """

    prepared: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.is_folded = False
        """Whether the weights are plain buffers: weight norm folded, branches merged, no training."""
        self.register_buffer("prepared", None, persistent=False)
        self.is_kept = False
        """Whether ``prepared`` is used away from the CPU, as it is."""
        self.made_from: tuple[Tensor, ...] | None = None
        """Copies of the weights that ``prepared`` was made from; no buffers, since a cast would round them alike."""

    def sources(self) -> tuple[Tensor, ...]:
        """The weights that :meth:`prepare` takes."""
        raise NotImplementedError

    def prepare(self, *weights: Tensor) -> Tensor | None:
        """The weights in the layout of a kernel; None: no kernel wants another."""
        raise NotImplementedError

    def prepared_weights(self) -> Tensor | None:
        """The weights in the kernel's layout, from the cache if it was made from the same values.

        None in the training form; in a program that is being traced, whose weights may change later; and away from the
        CPU, where comparing would wait for the device.
        """
        if not self.is_folded or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return None
        weights = self.sources()
        first = weights[0]
        if type(first) not in (Tensor, nn.Parameter):  # no values to compare: fake tensors, other subclasses
            return self.prepared if type(self.prepared) is type(first) else None
        if first.device.type != "cpu":
            if self.is_kept:
                return self.prepared
            self.prepared = self.made_from = None
            return None
        if self.made_from is None or not all(map(_equal, weights, self.made_from)):
            # Outside of inference mode, whose tensors could not be copied in place later.
            with torch.inference_mode(False), torch.no_grad():
                self.prepared = self.prepare(*(w.detach() for w in weights))
            self.mark_prepared()
        elif any(w.stride() != made.stride() for w, made in zip(weights, self.made_from, strict=True)):
            self.mark_prepared()  # comparing equal strides is faster
        return self.prepared

    def keep_prepared(self) -> None:
        """Prepare the weights for the device and dtype that they are in, for a module that nothing changes any more."""
        self.made_from, self.is_kept = None, self.is_folded
        with torch.no_grad():
            self.prepared = self.prepare(*(w.detach() for w in self.sources())) if self.is_folded else None

    def mark_prepared(self) -> None:
        """Let the cache count as made from the present weights: the same in other strides, or rounded."""
        with torch.inference_mode(False), torch.no_grad():
            self.made_from = tuple(w.detach().clone() for w in self.sources())

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_buffers": self._buffers | {"prepared": None}, "made_from": None, "is_kept": False}


def _equal(weight: Tensor, made_from: Tensor) -> bool:
    """Whether two tensors hold the same; ``made_from`` is dense."""
    if weight.dtype != made_from.dtype or weight.shape != made_from.shape or weight.device != made_from.device:
        return False
    if weight.stride() != made_from.stride():
        return torch.equal(weight, made_from)
    return _memcmp(weight.data_ptr(), made_from.data_ptr(), made_from.nbytes) == 0
