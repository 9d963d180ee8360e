"""Results of an evaluation as a table, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from math import isfinite
from statistics import fmean

from rich.table import Table

from awsrn_fast.metrics import Score


class Results:
    """Scores by set and image."""

    def __init__(self, sets: list[str]) -> None:
        self.scores: dict[str, dict[str, Score]] = {name: {} for name in sets}

    def add(self, set_name: str, image: str, score: Score) -> None:
        self.scores[set_name][image] = score

    def mean(self, set_name: str) -> Score | None:
        """Mean over the set's images; None where there is none."""
        scores = self.scores[set_name].values()
        if not scores:
            return None
        return Score(fmean(score.psnr for score in scores), fmean(score.ssim for score in scores))

    def table(self, title: str) -> Table:
        table = Table(title=title, title_justify="left")
        table.add_column("set")
        for heading in ("images", "PSNR (dB)", "SSIM"):
            table.add_column(heading, justify="right")
        for name, scores in self.scores.items():
            mean = self.mean(name)
            values = (f"{mean.psnr:.2f}", f"{mean.ssim:.4f}") if mean else ("-", "-")
            table.add_row(name, str(len(scores)), *values)
        return table

    def json(self) -> str:
        """``{set: {psnr, ssim, n, images: {image: {psnr, ssim}}}}``; null where a figure is not finite."""
        content = {
            name: {
                **_figures(self.mean(name)),
                "n": len(scores),
                "images": {image: _figures(score) for image, score in scores.items()},
            }
            for name, scores in self.scores.items()
        }
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def csv(self) -> str:
        """Columns set, image, psnr, ssim."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["set", "image", "psnr", "ssim"])
        for name, scores in self.scores.items():
            writer.writerows([name, image, f"{s.psnr:.6f}", f"{s.ssim:.6f}"] for image, s in scores.items())
        return out.getvalue()


def _figures(score: Score | None) -> dict[str, float | None]:
    values = {"psnr": score.psnr, "ssim": score.ssim} if score else {"psnr": None, "ssim": None}
    return {name: value if value is not None and isfinite(value) else None for name, value in values.items()}
