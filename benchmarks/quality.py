"""What the bundled weights reach: measures every one of them and writes the figures where they are shown.

    python benchmarks/quality.py --data Set5 B100 Urban100                  # all weights
    python benchmarks/quality.py improved-s-x4 --data Set5 B100 Urban100    # some, the others keep their figures
    python benchmarks/quality.py                                            # measures nothing, writes the tables anew

The figures are kept in docs/results/quality.json with a checksum of the weights that they belong to. Tables stand
between ``<!-- quality: NAME -->`` and ``<!-- /quality -->``, NAME being weights or ``all``, in README.md, docs/ and the
cards, so that text and files cannot differ: a test compares both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

import awsrn_fast
from awsrn_fast.checkpoint import BUNDLED, bundled_names
from awsrn_fast.data import downscale, upscale
from awsrn_fast.errors import UserError
from awsrn_fast.evaluate.sets import ImageSet, open_sets
from awsrn_fast.files import write_text
from awsrn_fast.metrics import score, super_resolve

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs/results/quality.json"
TABLE = re.compile(r"(<!-- quality: (\S+) -->\n).*?(<!-- /quality -->)", re.DOTALL)

Method = Callable[[np.ndarray], np.ndarray]
"""uint8 LR [h, w, 3] to uint8 [S * h, S * w, 3]."""


def checksum(name: str) -> str:
    """SHA-256 of a bundled weights file, in hexadecimal."""
    return hashlib.sha256((BUNDLED / f"{name}.safetensors").read_bytes()).hexdigest()


def measured(sets: Sequence[ImageSet], method: Method, scale: int) -> dict[str, dict[str, float]]:
    """Means over each set's images.

    Returns:
        set -> ``psnr`` (dB) and ``ssim`` on Y; ``offset``, the mean of result - original in gray levels, largest
        channel by magnitude; ``residual``, the root mean square of the shrunk result - LR in gray levels.
    """
    figures = {}
    for image_set in sets:
        rows = [_of_image(*image_set.pair(image, scale), method, scale) for image in image_set.files]
        figures[image_set.name] = {key: fmean(row[key] for row in rows) for key in rows[0] if key != "offsets"}
        offsets = np.mean([row["offsets"] for row in rows], axis=0)
        figures[image_set.name]["offset"] = float(offsets[np.abs(offsets).argmax()])
    return figures


def _of_image(lr: np.ndarray, hr: np.ndarray, method: Method, scale: int) -> dict[str, Any]:
    result = method(lr)
    both = score(result, hr, scale)
    shrunk = downscale(result, scale).astype(np.float64) - lr
    offsets = (result.astype(np.float64) - hr).mean((0, 1))
    return {"psnr": both.psnr, "ssim": both.ssim, "residual": float(np.sqrt((shrunk**2).mean())), "offsets": offsets}


def measure(names: Iterable[str], sets: Sequence[ImageSet], figures: dict[str, Any]) -> None:
    """Add the figures of weights, and of bicubic at their scales, to ``figures``; those that are there are written."""
    for name in names:
        model = awsrn_fast.load(name)
        scale = model.facts.scale
        print(f"{name} ...", file=sys.stderr, flush=True)
        results = measured(sets, partial(super_resolve, model.fuse()), scale)
        facts = {"scale": scale, "parameters": model.facts.parameters, "sha256": checksum(name)}
        figures[name] = facts | {"sets": results}
        bicubic = f"bicubic-x{scale}"
        known = figures.get(bicubic, {}).get("sets", {})
        if any(image_set.name not in known for image_set in sets):
            figures[bicubic] = {"scale": scale, "sets": measured(sets, partial(upscale, scale=scale), scale)}
        write_text(FIGURES, json.dumps(dict(sorted(figures.items())), indent=1) + "\n")


def table(names: Sequence[str], figures: dict[str, Any]) -> str:
    """The figures of some weights as a Markdown table, each scale opened by bicubic's row."""
    sets = list(dict.fromkeys(s for name in names for s in figures[name]["sets"]))
    lines = [
        f"| weights | parameters | {' | '.join(sets)} | colour offset | residual |",
        f"|---|---|{'---|' * len(sets)}---|---|",
    ]
    for scale in sorted({figures[name]["scale"] for name in names}):
        rows = [f"bicubic-x{scale}", *(name for name in names if figures[name]["scale"] == scale)]
        lines += [_row(name, figures[name], sets) for name in rows if name in figures]
    return "\n".join(lines) + "\n"


def _row(name: str, facts: dict[str, Any], sets: Sequence[str]) -> str:
    found = [facts["sets"].get(s) for s in sets]
    cells = [f"{f['psnr']:.2f} / {f['ssim']:.4f}" if f else "-" for f in found]
    offsets = [f["offset"] for f in found if f]
    residual = max(f["residual"] for f in found if f)
    count = f"{facts['parameters']:,}" if "parameters" in facts else "-"
    return f"| {name} | {count} | {' | '.join(cells)} | {max(offsets, key=abs):+.2f} | {residual:.2f} |"


def with_tables(text: str, figures: dict[str, Any]) -> str:
    """A text with the tables that it has places for."""
    return TABLE.sub(lambda match: match[1] + table(_named(match[2], figures), figures) + match[3], text)


def texts() -> list[Path]:
    """Files that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(BUNDLED.glob("*.md"))]


def write_tables(figures: dict[str, Any]) -> list[Path]:
    """Put the tables into every text that has a place for one; the files that changed."""
    changed = []
    for path in texts():
        before = path.read_text(encoding="utf-8")
        after = with_tables(before, figures)
        if after != before:
            write_text(path, after)
            changed.append(path)
    return changed


def _named(name: str, figures: dict[str, Any]) -> list[str]:
    names = [known for known in bundled_names() if known in figures] if name == "all" else [name]
    if not set(names) <= figures.keys():
        raise UserError(f"a table of {name} is asked for, which was not measured: give its name and --data")
    return names


def main() -> int:
    """Measure and write, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", nargs="*", metavar="NAME", help="bundled names (default: all)")
    parser.add_argument("--data", nargs="+", default=[], metavar="DIR", help="one folder a set; none: only the tables")
    options = parser.parse_args()
    figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    try:
        unknown = set(options.weights) - set(bundled_names())
        if unknown or (options.weights and not options.data):
            raise UserError(f"not bundled: {', '.join(unknown)}" if unknown else "--data names the sets to measure on")
        if options.data:
            measure(options.weights or bundled_names(), open_sets(options.data, None), figures)
        for path in write_tables(figures):
            print(f"written: {path.relative_to(ROOT)}")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
