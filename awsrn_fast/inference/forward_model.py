"""Forward model of a measurement: how a scene of high resolution becomes the image that is at hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from awsrn_fast.data.resize import shrinking_taps
from awsrn_fast.errors import UserError

INVERSE = 3
"""Radius, in input pixels, of the inverse filter; beyond it the bicubic one has fallen to 1 %."""
_NOISE = 1e-2
"""Share of the largest eigenvalue below which a frequency counts as lost; such are corrected by this share a round."""
_NEGLIGIBLE = 1e-4
"""Share of the largest singular value below which a separable part of a kernel is left out."""
_LARGEST = 65
"""Most taps of a kernel along an axis."""

KERNELS = ("bicubic", "area")
"""Kernels by name."""

Factors = tuple[tuple[np.ndarray, np.ndarray], ...]
"""Kernel as a sum of separable ones: (taps along rows' direction, down; taps across)."""


@dataclass(frozen=True, eq=False)
class ForwardModel:
    """Blur by a kernel and sampling of every ``scale``-th pixel; the image is mirrored at its borders.

    Attributes:
        name: of the kernel, for messages.
        scale: sampling step, in pixels of the larger image.
        factors: the kernel, normalised to a sum of 1.
        inverse: filter on the smaller grid that inverts the kernel's autocorrelation, as far as it can be.
        edge: borders repeat the last pixel instead of being mirrored.
        clips: each of two passes clips to [0, 1], as MATLAB's do on whole numbers.
    """

    name: str
    scale: int
    factors: Factors
    inverse: Factors
    edge: bool = False
    clips: bool = False

    @property
    def reach(self) -> int:
        """Radius, in pixels of the smaller image, of what one application of the model depends on."""
        taps = max(len(axis) for pair in self.factors for axis in pair)
        return -(-(taps - self.scale) // (2 * self.scale))

    def shrunk(self, y: Tensor) -> Tensor:
        """``y [N, C, sH, sW]`` as the model measures it, ``[N, C, H, W]``, clipped to [0, 1] as a file is."""
        return _total(
            _down(self._rows(y, down), across, self.scale, 3, self.edge) for down, across in self.factors
        ).clamp_(0, 1)

    def _rows(self, y: Tensor, taps: np.ndarray) -> Tensor:
        rows = _down(y, taps, self.scale, 2, self.edge)
        return rows.clamp_(0, 1) if self.clips else rows

    def spread(self, residual: Tensor) -> Tensor:
        """The smallest change of the larger image that ``shrunk`` makes ``residual [N, C, H, W]`` of, nearly."""
        least = _total(_down(_down(residual, down, 1, 2), across, 1, 3) for down, across in self.inverse)
        return _total(_up(_up(least, across, self.scale, 3), down, self.scale, 2) for down, across in self.factors)


def forward_model(kernel: str | np.ndarray, scale: int) -> ForwardModel:
    """The forward model of a kernel.

    Args:
        kernel: "bicubic" (MATLAB's, as the benchmarks' images were made), "area" (mean of ``scale`` x ``scale``
            pixels, as a sensor's cells), or taps ``[k, k]`` on the larger image's grid, normalised here. Their centre
            lies on the smaller image's pixel, so k is even where the scale is, and odd where it is odd.
        scale: 2 to 8.

    Raises:
        UserError: an unknown name, or taps that are no kernel.
    """
    if isinstance(kernel, str):
        return _named(kernel, scale)
    factors = _factors(_checked(np.asarray(kernel, np.float64), scale))
    return ForwardModel("kernel", scale, factors, _inverse(factors, scale))


@lru_cache(maxsize=16)
def _named(name: str, scale: int) -> ForwardModel:
    if name not in KERNELS:
        raise UserError(f"no kernel {name!r}: give {', '.join(KERNELS)}, or its numbers")
    taps = shrinking_taps(scale).astype(np.float64) if name == "bicubic" else np.ones(scale)
    taps /= taps.sum()
    factors, benchmark = ((taps, taps),), name == "bicubic"
    # The border at x8 is how the benchmarks' files were made.
    return ForwardModel(name, scale, factors, _inverse(factors, scale), benchmark and scale == 8, benchmark)


def _checked(taps: np.ndarray, scale: int) -> np.ndarray:
    if taps.ndim != 2 or taps.shape[0] != taps.shape[1] or not 1 <= len(taps) <= _LARGEST:
        shape = "x".join(map(str, taps.shape))
        raise UserError(f"a kernel is a square of up to {_LARGEST}x{_LARGEST} numbers, got {shape}")
    if not np.isfinite(taps).all() or abs(taps.sum()) < 1e-6 * np.abs(taps).sum() or not taps.any():
        raise UserError("a kernel's numbers must be finite, and their sum not zero")
    if len(taps) % 2 != scale % 2 or len(taps) < scale:
        kind = "odd" if scale % 2 else "even"
        raise UserError(
            f"a kernel of {len(taps)}x{len(taps)} cannot be centred on a pixel of x{scale}: its side must be {kind} "
            f"and at least {scale}; pad it with zeros, or convolve it with the sensor's cell of {scale}x{scale}"
        )
    return taps / taps.sum()


def _factors(taps: np.ndarray) -> Factors:
    """Separable kernels whose sum the taps are."""
    down, weights, across = np.linalg.svd(taps)
    kept = weights > _NEGLIGIBLE * weights[0]
    return tuple((down[:, i] * weights[i], across[i]) for i in np.flatnonzero(kept))


def _inverse(factors: Factors, scale: int) -> Factors:
    """The regularised inverse of ``shrunk`` after its adjoint, which is a filter on the smaller grid."""
    size = 64
    whole = sum(np.outer(down, across) for down, across in factors)
    wide = np.abs(np.fft.fft2(whole, (size * scale, size * scale))) ** 2
    # Sampling adds up the frequencies that become one.
    power = wide.reshape(scale, size, scale, size).sum((0, 2)) / scale**2
    filtered = np.fft.ifft2(power / (power**2 + (_NOISE * power.max()) ** 2)).real
    around = np.arange(-INVERSE, INVERSE + 1)
    return _factors(filtered[np.ix_(around, around)])


def _total(parts: Iterable[Tensor]) -> Tensor:
    """Sum of tensors, in order."""
    parts = iter(parts)
    total = next(parts)
    for part in parts:
        total.add_(part)
    return total


def _down(y: Tensor, taps: np.ndarray, scale: int, axis: int, edge: bool = False) -> Tensor:
    """``y`` filtered along ``axis``, every ``scale``-th pixel of it.

    Products and sums are operations of their own, not a convolution: each pixel is computed in the same order on
    every tile and by any number of threads, so its bits are the same.
    """
    before, count = (len(taps) - scale) // 2, y.shape[axis] // scale
    more = -(-len(taps) // scale) - 1
    # By phase, so that the pixels that a tap weighs lie one beside the other.
    where = np.arange(scale)[:, None] + scale * np.arange(count + more) - before
    phases = _taken(y, where, axis, edge)
    total = y.new_zeros([count if i == axis else side for i, side in enumerate(y.shape)])
    product = torch.empty_like(total)
    for tap, weight in enumerate(taps.tolist()):
        if weight:
            part = phases.select(axis, tap % scale).narrow(axis, tap // scale, count)
            total.add_(torch.mul(part, weight, out=product))
    return total


def _up(x: Tensor, taps: np.ndarray, scale: int, axis: int) -> Tensor:
    """The adjoint of ``_down`` on the mirrored, endless image: each pixel spread over the taps."""
    before, count = (len(taps) - scale) // 2, x.shape[axis]
    reach = -(-max(before, len(taps) - scale - before) // scale)
    padded = _taken(x, np.arange(-reach, count + reach), axis, False)
    out = x.new_zeros(*x.shape[:axis], scale, *x.shape[axis:])
    product = torch.empty_like(x, memory_format=torch.contiguous_format)
    for phase in range(scale):
        target = out.select(axis, phase)
        for offset in range(-reach, reach + 1):
            tap = phase + before - scale * offset
            if 0 <= tap < len(taps) and taps[tap]:
                target.add_(torch.mul(padded.narrow(axis, reach + offset, count), float(taps[tap]), out=product))
    return out.movedim(axis, axis + 1).reshape(*x.shape[:axis], scale * count, *x.shape[axis + 1 :])


def _taken(x: Tensor, where: np.ndarray, axis: int, edge: bool) -> Tensor:
    """``x`` at these places along ``axis``, beyond its ends mirrored, or the last one repeated."""
    length = x.shape[axis]
    if edge:
        where = where.clip(0, length - 1)
    else:
        where = where % (2 * length)
        where = np.minimum(where, 2 * length - 1 - where)
    found = x.index_select(axis, torch.from_numpy(where.ravel()))
    return found.reshape(*x.shape[:axis], *where.shape, *x.shape[axis + 1 :])
