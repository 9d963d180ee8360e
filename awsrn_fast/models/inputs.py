"""Checks of the images that a network is given."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

MARGIN = 0.5
"""Distance from [0, 1] that is not warned of: resampling and other networks overshoot a little."""
OUTSIDE = "values outside of [0, 1]"
NOT_FINITE = "values that are not finite"


def check_input(name: str, x: object, like: Tensor) -> None:
    """Raise unless ``x`` is a batch of RGB images ``[N, 3, H, W]`` of the network's dtype and device.

    Args:
        name: of the network's class, for the message.
        x: what the network was called with.
        like: a tensor of the network.

    Raises:
        TypeError, ValueError: what ``x`` is, and what to do.
    """
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{name}: x must be a tensor [N, 3, H, W], got {type(x).__name__}; upscale() takes arrays and Pillow images"
        )
    if x.layout != torch.strided:
        raise TypeError(f"{name}: x must be a dense tensor, got {x.layout}: call x.to_dense()")
    if x.dim() != 4 or x.shape[1] != 3 or 0 in x.shape[2:]:
        hint = "; add the batch dimension: x[None]" if x.dim() == 3 and x.shape[0] == 3 else ""
        raise ValueError(f"{name}: x must be RGB [N, 3, H, W] in [0, 1], got shape {list(x.shape)}{hint}")
    if not x.is_floating_point():
        hint = ": divide 8-bit values by 255" if x.dtype == torch.uint8 else ""
        raise TypeError(f"{name}: x must be floating point in [0, 1], got {x.dtype}{hint}")
    if x.device != like.device:
        raise ValueError(f"{name}: x is on {x.device}, the network on {like.device}: call x.to({str(like.device)!r})")
    if x.dtype != like.dtype and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(f"{name}: x is {x.dtype}, the network {like.dtype}: call x.to({like.dtype}), or use autocast")


def warn_of_values(x: Tensor, warned: set[str]) -> None:
    """Warn once of values far outside of [0, 1] and once of values that are not finite.

    On other devices than the CPU only the first call is checked, since checking waits for the device; traced programs
    are never checked.

    Args:
        x: images.
        warned: what was warned of before; added to.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or type(x) is not Tensor or not x.numel():
        return
    if x.device.type != "cpu":
        if x.is_meta or "first call" in warned or (x.is_cuda and torch.cuda.is_current_stream_capturing()):
            return
        warned.add("first call")
    low, high = (value.item() for value in torch.aminmax(x.detach()))
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        _warn(NOT_FINITE, "x has values that are not finite (NaN or infinity), and so will the result", warned)
    elif low < -MARGIN or high > 1 + MARGIN:
        text = f"x has values from {low:.4g} to {high:.4g}; the network expects [0, 1]: divide 8-bit values by 255"
        _warn(OUTSIDE, text, warned)


def _warn(kind: str, text: str, warned: set[str]) -> None:
    if kind not in warned:
        warned.add(kind)
        warnings.warn(text, stacklevel=6)  # the line that calls the network
