"""What every op does to its arguments before a backend is chosen: one check, one autocast rule, one layout rule."""

from __future__ import annotations

import torch
from torch import Tensor


def check(op: str, dims: dict[str, str], **tensors: Tensor | None) -> dict[str, int]:
    """Check tensors against named dimensions and against each other; return the size of each name.

    Args:
        op: name for the messages.
        dims: for each argument its dimensions, such as ``"N C H W"``; numbers are literal sizes, a trailing ``?``
            marks an argument that may be None. The first argument sets device and dtype.

    Raises:
        TypeError: not a tensor, not floating point, or another dtype than the first argument's.
        ValueError: wrong number of dimensions, wrong size, or another device than the first argument's.
    """
    sizes: dict[str, int] = {}
    source: dict[str, str] = {}
    first_name, first = next(iter(tensors.items()))
    for name, tensor in tensors.items():
        spec = dims[name].split()
        optional = spec[-1] == "?"
        spec = spec[:-1] if optional else spec
        if tensor is None and optional:
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{op}: {name} must be a tensor{' or None' if optional else ''}, got {type(tensor).__name__}"
            )
        if not tensor.is_floating_point():
            raise TypeError(f"{op}: {name} must be floating point, got {tensor.dtype}")
        if tensor.dim() != len(spec):
            raise ValueError(f"{op}: {name} must be [{', '.join(spec)}], got shape {list(tensor.shape)}")
        for axis, dim in enumerate(spec):
            size = tensor.shape[axis]
            if dim.isdecimal():
                wanted, origin = int(dim), ""
            else:
                wanted = sizes.setdefault(dim, size)
                origin = f" with {dim} = {wanted} as in {source.setdefault(dim, name)}"
            if size != wanted:
                raise ValueError(f"{op}: {name} must be [{', '.join(spec)}]{origin}, got shape {list(tensor.shape)}")
        if tensor.device != first.device:
            raise ValueError(f"{op}: {name} is on {tensor.device}, but {first_name} is on {first.device}")
        if tensor.dtype != first.dtype and not torch.is_autocast_enabled(first.device.type):
            raise TypeError(
                f"{op}: {name} is {tensor.dtype}, but {first_name} is {first.dtype}; convert one, or use torch.autocast"
            )
    return sizes


def autocast(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """The tensors in the autocast dtype, where autocast is on; a custom op would ignore it.

    fp64 stays, as in PyTorch's own autocast. The casts are differentiable, so each gradient has its input's dtype.
    """
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in tensors)


def memory_format(x: Tensor) -> torch.memory_format:
    """Layout of an op's output: channels_last if ``x`` is contiguous in it and not in NCHW, else contiguous."""
    if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def laid_out_like(y: Tensor, x: Tensor) -> Tensor:
    """``y`` in the layout that an output takes for the input ``x``."""
    return y.contiguous(memory_format=memory_format(x))
