"""Fits the estimate of ``upscale --error-map`` for some weights, and prints how well it is calibrated.

``python training/error_map.py --data PHOTOGRAPHS... --test B100 Urban100 [--weights NAME...] [--out FOLDER]``

The photographs are those of the folders that training holds out for validation. The figures: Spearman's correlation of
estimate and error, the share of errors within the 90 % interval, and the mean error in ten bins of equal size of the
estimate, over pixels drawn from every image of a set.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import awsrn_fast
from awsrn_fast.checkpoint import BUNDLED, bundled_names
from awsrn_fast.data import crop_to_multiple, downscale, find_images, read_rgb
from awsrn_fast.inference.colors import keep_colors
from awsrn_fast.inference.error_model import FEATURES, ErrorModel, features
from awsrn_fast.models import SuperResolution

SIDE = 480
"""Side of the part of each photograph that is used, from its middle."""
PIXELS = 20_000
"""Pixels drawn from each."""
RIDGE = 1e-4


def drawn(network: SuperResolution, files: Sequence[Path], pixels: int = PIXELS) -> tuple[np.ndarray, np.ndarray]:
    """Features ``[n, 1 + features]`` (the first is 1) and errors ``[n]`` in gray levels, of pixels of every file."""
    rng, scale = np.random.default_rng(0), network.scale
    rows, errors = [], []
    for file in files:
        image = read_rgb(file)
        top, left = (max(0, (side - SIDE) // 2) for side in image.shape[:2])
        hr = crop_to_multiple(image[top : top + SIDE, left : left + SIDE], scale)
        x, original = (
            torch.from_numpy(each.astype(np.float32)).permute(2, 0, 1)[None] / 255
            for each in (downscale(hr, scale), hr)
        )
        with torch.inference_mode():
            y = keep_colors(x, network(x), scale)
            found = torch.cat(features(x, y, scale), 1)[0].flatten(1).numpy()
        error = 255 * ((255 * y.clamp(0, 1)).round() / 255 - original).abs().mean(1).flatten().numpy()
        chosen = rng.choice(len(error), min(pixels, len(error)), replace=False)
        rows.append(np.concatenate([np.ones((1, len(chosen))), found[:, chosen]]).T)
        errors.append(error[chosen])
    return np.concatenate(rows), np.concatenate(errors)


def fitted(rows: np.ndarray, errors: np.ndarray, weights: str) -> ErrorModel:
    """The regression, with the mean of its estimates and its 90 % interval set right on the same pixels."""
    normal = rows.T @ rows + RIDGE * len(rows) * np.eye(rows.shape[1])
    coefficients = np.linalg.solve(normal, rows.T @ np.log(errors + 0.5))
    estimate = np.exp(rows @ coefficients)
    factor = errors.mean() / estimate.mean()
    coefficients[0] += np.log(factor)
    return ErrorModel(tuple(coefficients), float(np.quantile(errors / (factor * estimate), 0.9)), weights)


def judged(model: ErrorModel, rows: np.ndarray, errors: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Spearman's correlation, share within the interval, mean estimate and mean error in ten bins of the estimate."""
    estimate = np.exp(rows @ np.array(model.coefficients))
    bins = np.array_split(np.argsort(estimate), 10)
    means = [np.array([values[each].mean() for each in bins]) for values in (estimate, errors)]
    correlation = np.corrcoef(_ranks(estimate), _ranks(errors))[0, 1]
    return float(correlation), float((errors <= model.interval * estimate).mean()), *means


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, those of equal values being their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _row(name: str, title: str, model: ErrorModel, rows: np.ndarray, errors: np.ndarray) -> str:
    correlation, within, _, means = judged(model, rows, errors)
    shown = " ".join(f"{each:.1f}" for each in means)
    return f"| {name} | {title} | {correlation:.3f} | {within:.1%} | {shown} |"


def main(argv: Sequence[str] | None = None) -> None:
    """Fit, print, and write with ``--out``."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", nargs="+", required=True, metavar="FOLDER", help="photographs that were trained on")
    p.add_argument("--test", nargs="*", default=[], metavar="FOLDER", help="sets to judge the estimate on")
    p.add_argument("--weights", nargs="+", default=bundled_names(), metavar="NAME", help="(default: all bundled ones)")
    p.add_argument("--out", type=Path, metavar="FOLDER", help=f"write NAME.error.json here, such as {BUNDLED.name}/")
    args = p.parse_args(argv)
    held_out = find_images(args.data, split="valid")
    tests = {Path(folder).name: find_images([folder]) for folder in args.test}
    print("| weights | set | Spearman | within 90 % | mean error in ten bins of the estimate (gray levels) |")
    print("|---|---|---|---|---|")
    for name in args.weights:
        network = awsrn_fast.load(name).fuse()
        rows, errors = drawn(network, held_out)
        model = fitted(rows, errors, name)
        print(_row(name, f"{len(held_out)} held out", model, rows, errors), flush=True)
        for title, files in tests.items():
            print(_row(name, title, model, *drawn(network, files, PIXELS // 10)), flush=True)
        if args.out:
            named = dict(zip(("constant", *FEATURES), (round(c, 6) for c in model.coefficients), strict=True))
            content = {"weights": name, "interval": round(model.interval, 4), "coefficients": named}
            (args.out / f"{name}.error.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
