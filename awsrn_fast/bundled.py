"""The bundled weights: names, licences and PSNR."""

from __future__ import annotations

import re
from typing import Any

from rich.table import Table

from . import checkpoint
from .checkpoint import bundled_names, read_header
from .errors import UserError
from .models.sizes import variant_of

SETS = ("Set5", "B100", "Urban100")
"""Test sets of the cards' tables."""


def default_for(scale: int) -> str:
    """Name of the default weights for this upscaling factor.

    Raises:
        UserError: there are none for this factor.
    """
    name = f"improved-s-x{scale}"
    if name not in bundled_names():
        raise UserError(f"no weights for x{scale} come with the package; there are {', '.join(bundled_names())}")
    return name


def licence_of(name: str) -> str:
    """Licence of the training data of the weights ``name``; empty if not stated."""
    return read_header(checkpoint.BUNDLED / f"{name}.safetensors").get("training", {}).get("licence", "")


def is_open(name: str) -> bool:
    """Whether the data's licences allow commercial use."""
    return "allow commercial use" in licence_of(name)


def licence_remark(name: str) -> str:
    """One-line licence notice for users of default weights; empty if commercial use is allowed."""
    if is_open(name) or not licence_of(name):
        return ""
    scale = _hyper(name)["scale"]
    free = [other for other in bundled_names() if _hyper(other)["scale"] == scale and is_open(other)]
    instead = f"; {free[0]} is free for commercial use" if free else ""
    return f"{name} was {licence_of(name)}{instead}"


def weights_table() -> Table:
    """Table of the weights, a line each: scale, variant, PSNR in dB of the test sets as in its card, licence."""
    table = Table(title="PSNR in dB on Y, by the weights' cards", title_justify="left")
    for heading in ("name", "scale", "variant", *SETS, "licence of the data"):
        table.add_column(heading, justify="right" if heading in SETS else "left")
    for name in bundled_names():
        header = read_header(checkpoint.BUNDLED / f"{name}.safetensors")
        psnr = psnr_of(name)
        figures = [f"{psnr[each]:.2f}" if each in psnr else "-" for each in SETS]
        variant = variant_of(header["network"], header["hyper"])
        table.add_row(name, f"x{header['hyper']['scale']}", variant, *figures, licence_of(name))
    return table


def psnr_of(name: str) -> dict[str, float]:
    """PSNR in dB by set, from the card's table: the column headed by the weights' name."""
    card = checkpoint.BUNDLED / f"{name}.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    column = next((row.index(name) for row in rows if name in row), None)
    if column is None:
        return {}
    found = {row[0]: re.match(r"\d+\.\d+", row[column]) for row in rows if row[0] in SETS}
    return {name: float(number[0]) for name, number in found.items() if number}


def _hyper(name: str) -> dict[str, Any]:
    return read_header(checkpoint.BUNDLED / f"{name}.safetensors")["hyper"]
