"""The comparison picture of super-resolution papers: a whole image with marked crops, and each crop as every method
gives it, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .metrics import score

CELL = 240
"""Crops are enlarged by whole factors up to about this side, so that no interpolation blurs the comparison."""
MARKS = ("#e6194b", "#0082c8", "#f58231", "#3cb44b", "#911eb4", "#ffe119")
_GAP, _FRAME, _TEXT = 10, 3, 15


class Box(NamedTuple):
    """A crop in pixels of the large image."""

    left: int
    top: int
    width: int
    height: int


class Panel(NamedTuple):
    """Panel of one method's result: uint8 [H, W, 3], its name and a line of figures (may be empty)."""

    title: str
    image: np.ndarray
    figures: str = ""


def panels(lr: np.ndarray, results: Mapping[str, np.ndarray], hr: np.ndarray | None, scale: int) -> list[Panel]:
    """Panels of the input, of each result by title and, if there is one, of the original.

    Args:
        lr: uint8 [H, W, 3].
        results: uint8 [S * H, S * W, 3].
        hr: the original of the results' size; with it PSNR and SSIM of the whole image stand below each result.
        scale: S.
    """
    made = [Panel("input", lr.repeat(scale, axis=0).repeat(scale, axis=1), _size(lr))]
    for title, result in results.items():
        measured = None if hr is None else score(result, hr, scale)
        made.append(Panel(title, result, f"{measured.psnr:.2f} dB / {measured.ssim:.4f}" if measured else ""))
    if hr is not None:
        made.append(Panel("original", hr, _size(hr)))
    return made


def sharpest_differences(a: np.ndarray, b: np.ndarray, count: int, side: int, grid: int = 1) -> list[Box]:
    """Squares where two images differ most: up to ``count`` without overlap, largest difference first.

    Args:
        a, b: uint8 [H, W, 3] of one size.
        side: side of a square, limited to the image's size.
        grid: corners are multiples of it.
    """
    difference = np.abs(a.astype(np.float32) - b.astype(np.float32)).mean(axis=2)
    height, width = difference.shape
    tall, wide = min(side, height), min(side, width)
    sums = np.pad(difference.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    tops = np.arange(0, height - tall + 1, grid)[:, None]
    lefts = np.arange(0, width - wide + 1, grid)[None, :]
    inside = (
        sums[tops + tall, lefts + wide] - sums[tops, lefts + wide] - sums[tops + tall, lefts] + sums[tops, lefts]
    ).astype(np.float64)
    boxes: list[Box] = []
    while len(boxes) < count and np.isfinite(inside).any():
        row, column = np.unravel_index(np.argmax(inside), inside.shape)
        box = Box(int(lefts[0, column]), int(tops[row, 0]), wide, tall)
        boxes.append(box)
        clear = (abs(tops - box.top) < tall) & (abs(lefts - box.left) < wide)
        inside[clear] = -np.inf
    return boxes


def comparison(overview: np.ndarray, boxes: Sequence[Box], panels: Sequence[Panel]) -> Image.Image:
    """The figure: ``overview`` with the boxes marked, to its right a row for each box and a column for each panel.

    Args:
        overview: uint8 [H, W, 3].
        boxes: crops, each inside the image.
        panels: results of the overview's size.
    """
    font = ImageFont.load_default(_TEXT)
    factors = [max(1, CELL // max(box.width, box.height)) for box in boxes]
    sizes = [(box.width * factor, box.height * factor) for box, factor in zip(boxes, factors, strict=True)]
    lines = [line for panel in panels for line in (panel.title, panel.figures) if line]
    column = max([size[0] + 2 * _FRAME for size in sizes] + [int(font.getlength(line)) for line in lines])
    caption = _GAP + 2 * (_TEXT + 4)
    rows_height = sum(size[1] + 2 * _FRAME + _GAP for size in sizes)
    whole = _overview(overview, boxes, min(rows_height - _GAP, 2 * CELL * len(boxes)))
    width = _GAP + whole.width + len(panels) * (_GAP + column) + _GAP
    sheet = Image.new("RGB", (width, _GAP + max(rows_height, whole.height) + caption), "white")
    sheet.paste(whole, (_GAP, _GAP))
    draw = ImageDraw.Draw(sheet)
    for index, panel in enumerate(panels):
        left, top = 2 * _GAP + whole.width + index * (column + _GAP), _GAP
        for number, (box, size) in enumerate(zip(boxes, sizes, strict=True)):
            crop = panel.image[box.top : box.top + box.height, box.left : box.left + box.width]
            framed = Image.new("RGB", (size[0] + 2 * _FRAME, size[1] + 2 * _FRAME), MARKS[number % len(MARKS)])
            framed.paste(Image.fromarray(crop).resize(size, Image.Resampling.NEAREST), (_FRAME, _FRAME))
            sheet.paste(framed, (left, top))
            top += framed.height + _GAP
        draw.text((left, top), panel.title, "black", font)
        draw.text((left, top + _TEXT + 4), panel.figures, "black", font)
    return sheet


def _overview(image: np.ndarray, boxes: Sequence[Box], height: int) -> Image.Image:
    ratio = min(height / image.shape[0], 3 * CELL / image.shape[1])
    size = (max(1, round(image.shape[1] * ratio)), max(1, round(image.shape[0] * ratio)))
    whole = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(whole)
    for number, box in enumerate(boxes):
        corners = (box.left, box.top, box.left + box.width, box.top + box.height)
        draw.rectangle([round(corner * ratio) for corner in corners], outline=MARKS[number % len(MARKS)], width=_FRAME)
    return whole


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
