"""PSNR and residual with and without ``--consistent``: ``python benchmarks/consistency.py FOLDER... [--weights NAME]``.

Images are shrunk by the benchmarks' bicubic, enlarged by the network, and made consistent; the last column is the share
of samples that differ from the input when the 8-bit result is shrunk again by the benchmarks' own rounding downscaling.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import torch

import awsrn_fast
from awsrn_fast.data import downscale
from awsrn_fast.evaluate.sets import ImageSet, open_sets
from awsrn_fast.inference.colors import keep_colors
from awsrn_fast.inference.consistency import Consistency
from awsrn_fast.inference.corrections import Own
from awsrn_fast.inference.forward_model import forward_model
from awsrn_fast.metrics import score, to_uint8
from awsrn_fast.models import SuperResolution

HEADING = """| weights | set | PSNR (dB) | consistent | residual (gray levels) | consistent | largest | differ |
|---|---|---|---|---|---|---|---|"""


def measured(network: SuperResolution, image_set: ImageSet) -> str:
    """A row's figures: means over the set's images, and the largest residual of all."""
    scale = network.facts.scale
    rows, largest = [], [0.0, 0.0]
    for image in image_set.files:
        lr, hr = image_set.pair(image, scale)
        x = torch.from_numpy(lr.astype(np.float32)).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            y = keep_colors(x, network(x), scale)
        made = Consistency(forward_model("bicubic", scale))
        z = made(x, y, Own(slice(0, x.shape[2]), slice(0, x.shape[3])))
        psnr = [score(to_uint8(each), hr, scale).psnr for each in (y, z)]
        rows.append([*psnr, made.before.rms, made.after.rms, (downscale(to_uint8(z), scale) != lr).mean()])
        largest = [max(pair) for pair in zip(largest, (made.before.largest, made.after.largest), strict=True)]
    plain, consistent, before, after, differ = (fmean(column) for column in zip(*rows, strict=True))
    return (
        f"{plain:.2f} | {consistent:.2f} | {before:.2f} | {after:.2f} | {largest[0]:.1f} to {largest[1]:.1f} "
        f"| {100 * differ:.2f} %"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("folders", nargs="+", metavar="FOLDER", help="sets, such as Set5 (with its HR/)")
    p.add_argument("--weights", nargs="+", default=["improved-s-x4"], metavar="NAME")
    args = p.parse_args(argv)
    sets = open_sets(args.folders, None)
    print(HEADING)
    for name in args.weights:
        network = awsrn_fast.load(name).fuse()
        for image_set in sets:
            print(f"| {name} | {image_set.name} | {measured(network, image_set)} |", flush=True)


if __name__ == "__main__":
    main()
