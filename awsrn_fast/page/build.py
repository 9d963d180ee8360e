"""The page's file: template, style, script and images in one."""

from __future__ import annotations

import base64
import html
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from awsrn_fast.files import write_text

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Layer:
    """One picture of an image: uint8 [H, W, 3], or [H, W] with ``palette`` (uint8 [256, 3]) for a map."""

    title: str
    pixels: np.ndarray
    figures: tuple[str, ...] = ()
    palette: np.ndarray | None = None

    def encoded(self) -> dict[str, Any]:
        """For the page's script; the picture as lossless PNG."""
        picture = Image.fromarray(self.pixels)
        if self.palette is not None:
            picture.putpalette(self.palette.tobytes())
        data = io.BytesIO()
        picture.save(data, "PNG")
        source = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
        return {"title": self.title, "figures": list(self.figures), "source": source}


@dataclass(frozen=True)
class Shown:
    """One image: its layers, all shown as large as ``size`` (height, width), and maps to lay over them.

    ``columns`` are the headings of the layers' figures.
    """

    title: str
    size: tuple[int, int]
    columns: tuple[str, ...]
    layers: tuple[Layer, ...]
    maps: tuple[Layer, ...] = ()

    def encoded(self) -> dict[str, Any]:
        """For the page's script."""
        return {
            "title": self.title,
            "height": self.size[0],
            "width": self.size[1],
            "columns": list(self.columns),
            "layers": [layer.encoded() for layer in self.layers],
            "maps": [layer.encoded() for layer in self.maps],
        }


def write_page(path: str | os.PathLike, title: str, images: Sequence[dict[str, Any]], note: str = "") -> None:
    """Write the page, whole or not at all.

    Args:
        path: the .html file.
        title: heading, plain text.
        images: at least one, each by :meth:`Shown.encoded`.
        note: plain text below.

    Raises:
        RunError: it cannot be written.
    """
    template = Template((HERE / "page.html").read_text(encoding="utf-8"))
    data = json.dumps(images, ensure_ascii=False).replace("<", "\\u003c")  # so that no title ends the script
    text = template.substitute(
        title=html.escape(title),
        note=html.escape(note),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
        data=data,
    )
    write_text(path, text)
