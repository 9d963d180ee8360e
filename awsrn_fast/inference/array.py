"""Upscaling of in-memory images: NumPy arrays, Pillow images and tensors, each to the same type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from awsrn_fast.errors import RunError
from awsrn_fast.images import scaled_info

from .colors import keeping_colors
from .consistency import Consistency
from .corrections import corrected
from .enhance import Array, Strips, enlarged
from .forward_model import forward_model
from .local import with_local_means
from .process_memory import ceiling, fitting_tile, free, free_on
from .protocols import Network, Source
from .tiling import Tiler
from .wrappers import Placed, SelfEnsemble

Picture = TypeVar("Picture", np.ndarray, Tensor, Image.Image)
MODES = ("L", "LA", "RGB", "RGBA", "I;16")
"""Modes of Pillow images that are taken; the user converts others, since the target mode is not obvious."""


class Upscaling(Network):
    """Base that gives a network the method ``upscale``."""

    def upscale(
        self,
        image: Picture,
        *,
        tile: int | None = None,
        stats: Literal["frozen", "exact", "local"] = "frozen",
        memory_limit: int | None = None,
        self_ensemble: bool = False,
        dtype: torch.dtype = torch.float32,
        consistent: str | np.ndarray | None = None,
    ) -> Picture:
        """Upscale an image of any size; the result is of the same kind, ``scale`` times as large.

        Nothing of the network changes, so any number of threads may call this at once (while none trains it or
        changes :func:`awsrn_fast.use_backend`). A form made by :meth:`fuse` is faster.

        Args:
            image: one of

                - a NumPy array ``[H, W]`` or ``[H, W, C]``, uint8, uint16 or floating point in [0, 1];
                - a Pillow image of mode L, LA, RGB, RGBA or I;16; EXIF orientation is not applied, and ``info``
                  (profile, resolution, EXIF, XMP, texts) is adapted to the upscaled image;
                - a tensor ``[C, H, W]`` or ``[N, C, H, W]`` on any device, uint8 or floating point in [0, 1].

                C is 1 (gray), 2 (gray and alpha), 3 (RGB) or 4 (RGBA; not premultiplied). Whole numbers are rounded
                once and clipped; floating point values are not clipped, and may leave [0, 1] by a little.
            tile: side of a tile in pixels; 0: never tile; None: the whole image if it fits the memory, else tiles as
                large as fit. Tiles include the full receptive field, so there are no seams.
            stats: gates of a tiled image, which are means over the image: "frozen" takes them from regions spread
                over it, "exact" layer by layer from all of it, with up to 1 KB per pixel in temporary files; "local"
                takes means over 48x48 pixels around each instead, tiled or not.
            memory_limit: bytes that the process may hold; None: three quarters of what is free.
            self_ensemble: average over eight flips and rotations: slightly better, eight times the computation.
            dtype: compute dtype; bfloat16 or float16 through autocast.
            consistent: how the image was measured, "bicubic", "area" or a kernel ``[k, k]``: the result is changed as
                little as needed so that, measured so again, it is the image, and clipped to [0, 1]; see
                :func:`awsrn_fast.inference.consistency.consistent`. None: it is as the network makes it.

        Raises:
            TypeError, ValueError: an unsupported image; says which.
            UserError: an unknown kernel.
            RunError: too little memory, or the network's output is not finite.
        """
        if isinstance(image, Tensor):
            planes, top = _of_tensor(image)
        else:
            values = np.asarray(image)
            if isinstance(image, Image.Image) and image.mode not in MODES:
                raise ValueError(
                    f"upscale: a Pillow image must be of mode {', '.join(MODES)}, not {image.mode}: convert it"
                )
            if isinstance(image, Image.Image) and "transparency" in image.info:
                raise ValueError("upscale: the Pillow image has a transparent colour: convert it to LA or RGBA")
            planes, top = [_of_array(values)], _top(values.dtype)
        network = with_local_means(self) if stats == "local" else self
        placed = Placed(network, self.mean.device, dtype, as_it_is=True)
        forward = None if consistent is None else forward_model(consistent, self.scale)
        large = []
        for each in planes:
            if top == 1 and not np.isfinite(each).all():
                raise RunError("upscale: the image has values that are not finite (NaN or infinity): fill them first")
            unit = Array(each if top == 1 else each.astype(np.float32) / np.float32(top))
            side: int | tuple[int, int] | None = tile
            if tile is None:
                room = free(memory_limit)
                results = 4 * unit.planes * self.scale**2 * unit.height * unit.width * (3 if self_ensemble else 2)
                room = None if room is None else room - results
                side = fitting_tile(placed.facts, (unit.height, unit.width), unit.planes, room, free_on(placed))
            tiler = Tiler(placed, side or None, "exact" if stats == "exact" else "frozen")
            tiler.ceiling = ceiling(memory_limit)
            strips = keeping_colors(_views(tiler) if self_ensemble else tiler.strips, self.scale)
            if forward is not None:
                correction = Consistency(forward, None if top == 1 else top)
                strips = corrected(strips, self.scale, correction.reach, correction)
            large.append(np.concatenate(list(enlarged(unit, strips))))
        if isinstance(image, Tensor):
            return _to_tensor(large, image, top)
        values = _rounded(large[0], top, values.dtype)
        if isinstance(image, Image.Image):
            result = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
            result.info = scaled_info(image, self.scale)
            return result
        return values[..., 0] if image.ndim == 2 else values


def _views(tiler: Tiler) -> Strips:
    def strips(source: Source) -> Iterator[Tensor]:
        yield SelfEnsemble(tiler)(source.window(0, source.height, 0, source.width))

    return strips


def _of_array(values: np.ndarray) -> np.ndarray:
    planes = values[..., None] if values.ndim == 2 else values
    if planes.ndim != 3 or planes.shape[2] not in (1, 2, 3, 4) or 0 in planes.shape:
        raise ValueError(
            f"upscale: an array must be [H, W] or [H, W, 1..4] (gray, gray and alpha, RGB, RGBA), got {values.shape}"
        )
    return planes if planes.dtype in (np.uint8, np.uint16) else planes.astype(np.float32)


def _of_tensor(image: Tensor) -> tuple[list[np.ndarray], int]:
    batch = image[None] if image.dim() == 3 else image
    if batch.dim() != 4 or batch.shape[1] not in (1, 2, 3, 4) or 0 in batch.shape[1:]:
        raise ValueError(
            "upscale: a tensor must be [C, H, W] or [N, C, H, W] with C of 1 to 4 (gray, gray and alpha, RGB, RGBA), "
            f"got {list(image.shape)}"
        )
    dtype = torch.uint8 if image.dtype == torch.uint8 else torch.float32
    if dtype == torch.float32 and not image.is_floating_point():
        raise TypeError(f"upscale: a tensor must be uint8 or floating point in [0, 1], got {image.dtype}")
    return [
        each.detach().to("cpu", dtype).permute(1, 2, 0).numpy() for each in batch
    ], 255 if dtype.itemsize == 1 else 1


def _top(dtype: np.dtype) -> int:
    """The value that represents 1."""
    if dtype in (np.uint8, np.uint16):
        return int(np.iinfo(dtype).max)
    if dtype.kind == "f":
        return 1
    raise TypeError(f"upscale: an array must be uint8, uint16 or floating point in [0, 1], got {dtype}")


def _rounded(values: np.ndarray, top: int, dtype: np.dtype) -> np.ndarray:
    return values.astype(dtype) if top == 1 else np.rint(np.clip(values, 0, 1) * np.float32(top)).astype(dtype)


def _to_tensor(large: list[np.ndarray], like: Tensor, top: int) -> Tensor:
    if not large:
        raise ValueError("upscale: the batch is empty")
    batch = torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2)
    batch = batch if top == 1 else batch.clamp(0, 1).mul(top).round()
    batch = batch.to(like.device, like.dtype).contiguous()
    return batch[0] if like.dim() == 3 else batch
