"""Colour correction of the network's result: local mean colours equal the input's, flat areas stay flat."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .corrections import Strips, corrected

REACH = 8
"""Radius, in input pixels, of the neighbourhood that a pixel's correction depends on."""
_MEAN = 4
"""Half the side of the square whose mean colour is kept."""
_FLAT = 2
"""Half the side of the square that counts as flat where all its pixels are the same."""


def keep_colors(x: Tensor, y: Tensor, scale: int) -> Tensor:
    """``y``, the network's result for ``x``, with the mean colours of ``x`` and with its flat areas.

    A network is trained on details. In flat areas it may be off by one level, in saturated colours by more, and by
    dozens at the border of the image, where its convolutions see zero padding. So the difference between ``x`` and
    ``y`` in its resolution, averaged over 9x9 pixels, is added: details stay as they are. Where ``x`` is the same as
    far as six pixels around, ``y`` becomes that colour, with a soft edge.

    Args:
        x: ``[N, C, H, W]`` in [0, 1].
        y: ``[N, C, scale * H, scale * W]``.
        scale: upscaling factor.
    """
    off = x - F.avg_pool2d(y.clamp(0, 1), scale)
    y = y + F.interpolate(_mean(off, _MEAN), scale_factor=scale, mode="bilinear")
    varies = (_largest(x, _FLAT) != -_largest(-x, _FLAT)).any(1, keepdim=True).to(x.dtype)
    if varies.all():
        return y
    flat = 1 - _mean(_largest(varies, _FLAT), _FLAT)
    flat = F.interpolate(flat, scale_factor=scale, mode="bilinear")
    return torch.lerp(y, F.interpolate(x, scale_factor=scale, mode="nearest"), flat)


def keeping_colors(strips: Strips, scale: int) -> Strips:
    """``strips``, which yields the upscaled image from top to bottom, corrected as by ``keep_colors`` on the whole."""
    return corrected(strips, scale, REACH, lambda x, y, own: keep_colors(x, y, scale))


def _mean(x: Tensor, radius: int) -> Tensor:
    return F.avg_pool2d(F.pad(x, (radius,) * 4, mode="replicate"), 2 * radius + 1, 1)


def _largest(x: Tensor, radius: int) -> Tensor:
    return F.max_pool2d(F.pad(x, (radius,) * 4, mode="replicate"), 2 * radius + 1, 1)
