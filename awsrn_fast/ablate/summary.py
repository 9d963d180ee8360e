"""Summary of an ablation: one table, one plot."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from rich.table import Table

from awsrn_fast.checkpoint import load, read_header
from awsrn_fast.cli import results
from awsrn_fast.files import replacing, write_text


@dataclass(frozen=True)
class Outcome:
    """Outcome of one run: validation PSNR in dB by iteration, bicubic's PSNR, the network's size."""

    row: str
    seed: int
    curve: dict[int, float]
    bicubic: float
    parameters: int

    @property
    def last(self) -> float:
        """Final PSNR: rows are compared at equal iterations, not at each one's best checkpoint."""
        return self.curve[max(self.curve)]


def read_outcome(row: str, seed: int, run: Path) -> Outcome:
    """The outcome in a finished run's files."""
    with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
        curve = {int(r["iteration"]): float(r["val_psnr"]) for r in csv.DictReader(file) if r["val_psnr"]}
    weights = run / "last.safetensors"
    bicubic = read_header(weights)["training"]["bicubic_psnr"]
    return Outcome(row, seed, curve, bicubic, load(weights).facts.parameters)


def write_table(folder: Path, outcomes: list[Outcome]) -> None:
    """table.md and table.csv: one line per row: mean over the seeds, spread, difference to the first row."""
    lines = _lines(outcomes)
    header = ("row", "parameters", "runs", "PSNR", "spread", "over the first row", "over bicubic")
    shown = Table(title=f"validation PSNR (dB) after {max(outcomes[0].curve)} iterations", title_justify="left")
    for heading in header:
        shown.add_column(heading)
    for line in lines:
        shown.add_row(*line)
    results.print(shown)
    markdown = [" | ".join(header), " | ".join("---" for _ in header), *(" | ".join(line) for line in lines)]
    write_text(folder / "table.md", "".join(f"| {line} |\n" for line in markdown))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *lines])
    write_text(folder / "table.csv", text.getvalue())


def write_plot(path: Path, outcomes: list[Outcome]) -> None:
    """PSNR over iterations: one curve per row (mean over the seeds), bicubic as a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for row in dict.fromkeys(outcome.row for outcome in outcomes):
        runs = [outcome.curve for outcome in outcomes if outcome.row == row]
        iterations = sorted(set.intersection(*(set(curve) for curve in runs)))
        axes.plot(iterations, [fmean(curve[i] for curve in runs) for i in iterations], marker=".", label=row)
    axes.axhline(outcomes[0].bicubic, color="gray", linestyle="--", label="bicubic")
    axes.set(xlabel="iterations", ylabel="validation PSNR (dB)")
    axes.legend()
    with replacing(path) as beside:
        figure.savefig(beside, dpi=120)
    pyplot.close(figure)


def _lines(outcomes: list[Outcome]) -> list[tuple[str, ...]]:
    rows = {o.row: [other for other in outcomes if other.row == o.row] for o in outcomes}
    means = {row: fmean(o.last for o in runs) for row, runs in rows.items()}
    first = next(iter(means.values()))
    return [
        (
            row,
            f"{runs[0].parameters:,}",
            str(len(runs)),
            f"{means[row]:.2f}",
            f"{stdev(o.last for o in runs):.2f}" if len(runs) > 1 else "-",
            f"{means[row] - first:+.2f}",
            f"{means[row] - fmean(o.bicubic for o in runs):+.2f}",
        )
        for row, runs in rows.items()
    ]
