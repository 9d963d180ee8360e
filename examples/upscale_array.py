"""Upscale an image in Python: ``python examples/upscale_array.py IN OUT [WEIGHTS]``.

What Pillow opens goes in, a Pillow image of the same mode comes out; arrays and tensors work likewise.
"""

from __future__ import annotations

import sys

from PIL import Image

import awsrn_fast


def main(source: str, target: str, weights: str = "improved-s-x4") -> None:
    model = awsrn_fast.load(weights).fuse()
    image = Image.open(source)
    large = model.upscale(image, memory_limit=10**9)  # bytes; in tiles where it would not fit
    large.save(target)
    print(
        f"{image.width}x{image.height} -> {large.width}x{large.height} by {model.facts.variant}, x{model.facts.scale}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
