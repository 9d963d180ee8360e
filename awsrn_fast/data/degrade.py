"""Degradation from HR to LR: bicubic, and optionally blur, noise and compression of real images.

After the published designs of Real-ESRGAN (Wang et al., arXiv 2107.10833) and BSRGAN (Zhang et al., arXiv 2103.14006):
blur, resizing by one of several kernels, Gaussian and Poisson noise, JPEG, and all of it a second time. Between
steps images are quantised to 8 bits, as in files.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from hashlib import sha256
from math import ceil, cos, pi, sin

import numpy as np
from PIL import Image

from awsrn_fast.errors import UserError

from .resize import downscale

Range = tuple[float, ...]
"""Range of a uniform distribution, or a single constant value."""

KERNELS = {
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Resampling kernels; bicubic by a whole factor is MATLAB's, as in the benchmarks, the others are Pillow's."""
LIMITS = {
    "blur": (0, 16, "HR pixels"),
    "noise": (0, 255, "levels"),
    "poisson": (0, 16, "times a photon a level"),
    "jpeg": (1, 100, "of quality"),
}


@dataclass(frozen=True)
class Degradation:
    """Degradations besides bicubic downscaling. None by default, as in the benchmarks.

    Raises:
        UserError: a value out of range; names it.
    """

    blur: float | Range = 0.0
    """Standard deviation of a Gaussian on the HR image, in HR pixels, 0 to 16."""
    noise: float | Range = 0.0
    """Standard deviation of Gaussian noise on the LR image, in levels of 255, 0 to 255."""
    jpeg: int | tuple[int, ...] | None = None
    """Quality 1 to 100 (4:2:0) of JPEG compression of the LR image, or None for none."""
    poisson: float | Range = 0.0
    """Strength of Poisson noise on the LR image, 0 to 16: at 1 a level is a photon, and 100 have a deviation of 10."""
    anisotropic: bool = False
    """Whether the blur's deviations along two axes, at any angle, are drawn apart."""
    resize: tuple[str, ...] = ("bicubic",)
    """Subset of :data:`KERNELS`, from which the downscaling kernel is drawn."""
    second_order: float = 0.0
    """Share of the images that go through a first pass of all this, to a size drawn between HR's and LR's."""

    def __post_init__(self) -> None:
        for name, (low, high, unit) in LIMITS.items():
            value = getattr(self, name)
            values = () if value is None else value if isinstance(value, tuple) else (value,)
            good = len(values) <= 2 and all(low <= v <= high for v in values) and list(values) == sorted(values)
            if not good or not (values or value is None):
                wanted = f"{low} to {high} {unit}, or two such numbers, the smaller first"
                raise UserError(f"degradation {name} must be {wanted}, got {value}")
            if values and values[0] == values[-1]:
                object.__setattr__(self, name, values[0])  # so that equal settings are equal
        unknown = [kernel for kernel in self.resize if kernel not in KERNELS]
        if unknown or not self.resize:
            raise UserError(f"degradation resize must be of {', '.join(KERNELS)}, got {' '.join(unknown) or 'none'}")
        if not 0 <= self.second_order <= 1:
            raise UserError(f"degradation second_order must be a share from 0 to 1, got {self.second_order}")

    @property
    def key(self) -> str:
        """Name for file names; different settings have different ones."""
        if self == Degradation():
            return "bicubic"
        blur, noise, jpeg, poisson = map(_shown, (self.blur, self.noise, self.jpeg or 0, self.poisson))
        name = f"b{blur}-n{noise}-j{jpeg.removesuffix('.0')}"
        more = (poisson, self.anisotropic, self.resize, self.second_order)
        if more == ("0.0", False, ("bicubic",), 0.0):
            return name
        return f"{name}-p{poisson}-a{self.anisotropic:d}-r{'+'.join(self.resize)}-s{float(self.second_order)!r}"

    def reach(self, scale: int) -> int:
        """LR pixels around a patch that influence it, with a margin for a random offset of JPEG's blocks."""
        widest = 3 * (self.blur[-1] if isinstance(self.blur, tuple) else self.blur)
        return ceil(widest if self.second_order else widest / scale) + 12


def make_lr(
    hr: np.ndarray, scale: int, degradation: Degradation | None = None, generator: np.random.Generator | None = None
) -> np.ndarray:
    """The LR image of an HR image.

    Args:
        hr: uint8 [H, W, 3], H and W multiples of ``scale``.
        scale: whole factor.
        degradation: None for bicubic alone.
        generator: source of randomness; None: one seeded by the image, so that the same pixels and settings give the
            same result in any order of the files.

    Returns:
        uint8 [H / scale, W / scale, 3].
    """
    degradation = degradation or Degradation()
    if degradation == Degradation():
        return downscale(hr, scale)
    if generator is None:
        generator = np.random.Generator(np.random.Philox(int.from_bytes(sha256(hr.tobytes()).digest()[:8], "big")))
    size = hr.shape[0] // scale, hr.shape[1] // scale
    if degradation.second_order and generator.random() < degradation.second_order:
        factor = generator.uniform(1 / scale, 1)
        first = tuple(max(small, round(factor * side)) for small, side in zip(size, hr.shape, strict=False))
        hr = _pass(hr, first, degradation, generator)
    return _pass(hr, size, degradation, generator)


def _pass(image: np.ndarray, size: tuple[int, ...], d: Degradation, generator: np.random.Generator) -> np.ndarray:
    """Blur, resize, noise, JPEG."""
    image = _shrunk(_blurred(image, d, generator), size, _one_of(d.resize, generator))
    noise, poisson = _drawn(d.noise, generator), _drawn(d.poisson, generator)
    if noise or poisson:
        values = image.astype(np.float64)
        if poisson:
            values += poisson * (generator.poisson(image) - image)
        if noise:
            values += noise * generator.standard_normal(image.shape)
        image = _to_levels(values)
    if not d.jpeg:
        return image
    return _jpeg(image, int(generator.integers(d.jpeg[0], d.jpeg[1] + 1)) if isinstance(d.jpeg, tuple) else d.jpeg)


def _drawn(value: float | Range, generator: np.random.Generator) -> float:
    return generator.uniform(value[0], value[-1]) if isinstance(value, tuple) else value


def _one_of(names: tuple[str, ...], generator: np.random.Generator) -> str:
    return names[generator.integers(len(names))] if len(names) > 1 else names[0]


def _shown(value: float | Range) -> str:
    return "to".join(repr(float(v)) for v in value) if isinstance(value, tuple) else repr(float(value))


def _shrunk(image: np.ndarray, size: tuple[int, ...], kernel: str) -> np.ndarray:
    factor = image.shape[0] // size[0]
    if kernel == "bicubic" and image.shape[:2] == (factor * size[0], factor * size[1]):
        return downscale(image, factor)
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), KERNELS[kernel]))


def _blurred(image: np.ndarray, d: Degradation, generator: np.random.Generator) -> np.ndarray:
    sigma = _drawn(d.blur, generator)
    if not d.anisotropic:
        return _blur(image, sigma) if sigma else image
    across, angle = _drawn(d.blur, generator), generator.uniform(0, pi)
    return _blur_2d(image, sigma, across, angle) if max(sigma, across) else image


def _blur_2d(image: np.ndarray, sigma: float, across: float, angle: float) -> np.ndarray:
    """Anisotropic Gaussian blur with two deviations, the first along ``angle``, by FFT."""
    reach = ceil(3 * max(sigma, across))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along, aside = x * cos(angle) + y * sin(angle), y * cos(angle) - x * sin(angle)
    # Avoids division by zero; a tenth of a pixel has no effect on the neighbours either.
    weights = np.exp(-0.5 * ((along / max(sigma, 0.1)) ** 2 + (aside / max(across, 0.1)) ** 2))
    border = ((reach, reach), (reach, reach), (0, 0))
    padded = np.pad(image.astype(np.float64), border, mode="symmetric")
    size = padded.shape[:2]
    spectrum = np.fft.rfft2(padded, axes=(0, 1)) * np.fft.rfft2(weights / weights.sum(), s=size)[..., None]
    values = np.fft.irfft2(spectrum, s=size, axes=(0, 1))[2 * reach :, 2 * reach :]
    return _to_levels(values)


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    reach = ceil(3 * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    values = image.astype(np.float32)
    for axis in (0, 1):
        border = [(reach, reach) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(values, border, mode="symmetric")
        size = values.shape[axis]
        values = np.zeros_like(values)
        for tap, weight in enumerate(weights):
            values += weight * (padded[tap : tap + size] if axis == 0 else padded[:, tap : tap + size])
    return _to_levels(values)


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(buffer).convert("RGB"))


def _to_levels(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)
