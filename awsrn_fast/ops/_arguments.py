"""Handling of every op's arguments before a backend is chosen: one check, one autocast rule, one layout rule."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Argument(NamedTuple):
    """A tensor among an op's arguments."""

    name: str
    dims: tuple[str, ...]
    """The names of its dimensions; numbers are literal sizes."""
    optional: bool
    """Whether it may be None."""
    place: int
    """Among all arguments."""

    @classmethod
    def of(cls, name: str, spec: str, place: int) -> Argument:
        """Argument from its dimensions as written, such as ``"N C ?"``; the question mark means optional."""
        dims = spec.split()
        optional = dims[-1] == "?"
        return cls(name, tuple(dims[:-1] if optional else dims), optional, place)

    @property
    def is_map(self) -> bool:
        return self.dims[-2:] == ("H", "W")

    @property
    def is_small(self) -> bool:
        """A scale, a bias or a gate: a value for all, for a channel, or for a channel of an image."""
        return len(self.dims) == 1 or (len(self.dims) == 2 and self.dims[0] == "N")

    def __str__(self) -> str:
        return f"{self.name} must be [{', '.join(self.dims)}]"


def check(op: str, arguments: tuple[Argument, ...], given: tuple[Any, ...]) -> dict[str, int]:
    """Check tensors against named dimensions and against each other; return the size of each name.

    Args:
        op: name for the messages.
        arguments: what the tensors should be. The first one sets device and dtype.
        given: all arguments of the call.

    Raises:
        TypeError: not a tensor, not floating point, or another dtype than the first argument's.
        ValueError: wrong number of dimensions, wrong size, or another device than the first argument's.
    """
    sizes: dict[str, int] = {}
    source: dict[str, str] = {}
    first = given[arguments[0].place]
    for argument in arguments:
        name, dims, optional, place = argument
        tensor = given[place]
        if tensor is None and optional:
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{op}: {name} must be a tensor{' or None' if optional else ''}, got {type(tensor).__name__}"
            )
        if not tensor.is_floating_point():
            raise TypeError(f"{op}: {name} must be floating point, got {tensor.dtype}")
        shape = tensor.shape
        if len(shape) != len(dims):
            raise ValueError(f"{op}: {argument}, got shape {list(shape)}")
        for dim, size in zip(dims, shape, strict=True):
            if dim.isdecimal():
                wanted, origin = int(dim), ""
            else:
                wanted = sizes.setdefault(dim, size)
                origin = source.setdefault(dim, name)
            if size != wanted:
                origin = f" with {dim} = {wanted} as in {origin}" if origin else ""
                raise ValueError(f"{op}: {argument}{origin}, got shape {list(shape)}")
        if tensor.device != first.device:
            raise ValueError(f"{op}: {name} is on {tensor.device}, but {arguments[0].name} is on {first.device}")
        if tensor.dtype != first.dtype and not lowers(first):
            raise TypeError(
                f"{op}: {name} is {tensor.dtype}, but {arguments[0].name} is {first.dtype}; "
                "convert one, or use torch.autocast"
            )
    return sizes


def autocast(arguments: tuple[Argument, ...], given: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments with maps and weights in the autocast dtype, where autocast is on; a custom op would ignore it.

    Scales, biases and gates are in fp32: their gradients are sums over whole maps, which fp16 cannot hold at a usual
    loss scale. So is everything of an op without maps, whose result is a gate. fp64 stays, as in PyTorch's own
    autocast. The casts are differentiable, so each gradient has its input's dtype.
    """
    first = given[arguments[0].place]
    if not lowers(first):
        return given
    has_maps, lower, cast = len(arguments[0].dims) > 2, torch.get_autocast_dtype(first.device.type), list(given)
    for argument in arguments:
        tensor = given[argument.place]
        if tensor is not None and tensor.dtype != torch.float64:
            cast[argument.place] = tensor.to(lower if has_maps and not argument.is_small else torch.float32)
    return tuple(cast)


def lowers(x: Tensor) -> bool:
    """Whether autocast is on where ``x`` is; tensors without values are nowhere."""
    return not x.is_meta and torch.is_autocast_enabled(x.device.type)


def memory_format(x: Tensor) -> torch.memory_format:
    """Layout of an op's output: channels_last if ``x`` is contiguous in it and not in NCHW, else contiguous."""
    if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def laid_out_like(y: Tensor, x: Tensor) -> Tensor:
    """``y`` in the layout that an output takes for the input ``x``."""
    return y.contiguous(memory_format=memory_format(x))


def room_like(tensor: Tensor, is_map: bool) -> Tensor:
    """Memory for a gradient: dense, that of a map ``[N, C, H, W]`` in the map's layout."""
    return torch.empty_like(tensor, memory_format=memory_format(tensor) if is_map else torch.contiguous_format)
