"""Plot of a training run: ``python training/curve.py METRICS.csv ... -o CURVE.png [--before N]``.

Validation PSNR and learning rate against iterations, from the ``metrics.csv`` of a run, or of several that went on from
each other (later files replace the rows of earlier ones from their first iteration on).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path


def rows(paths: list[Path]) -> list[dict[str, float]]:
    """Iteration, lr and, where it was validated, val_psnr, by iteration."""
    joined: dict[int, dict[str, float]] = {}
    for path in paths:
        with open(path, newline="") as file:
            read = {int(row["iteration"]): {k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)}
        joined = {i: row for i, row in joined.items() if i < min(read)} | read
    return [joined[i] for i in sorted(joined)]


def main() -> None:
    """Write the plot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("metrics", nargs="+", type=Path, metavar="METRICS.csv")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="CURVE.png")
    parser.add_argument("--before", type=int, default=0, help="iterations of the weights that the run began with")
    options = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = rows(options.metrics)
    figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
    validated = [row for row in found if "val_psnr" in row]
    at = [options.before + row["iteration"] for row in validated]
    axes.plot(at, [row["val_psnr"] for row in validated], "o-", ms=3, color="tab:blue")
    axes.set_xlabel("iterations")
    axes.set_ylabel("validation PSNR (dB)", color="tab:blue")
    logged = [row for row in found if "lr" in row]
    rate = axes.twinx()
    rate.plot([options.before + row["iteration"] for row in logged], [row["lr"] for row in logged], color="tab:gray")
    rate.set_ylabel("learning rate", color="tab:gray")
    figure.savefig(options.output, dpi=110)


if __name__ == "__main__":
    main()
