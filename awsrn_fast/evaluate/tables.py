"""Tables I and II of the paper: published figures, this project's measurements, and costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.table import Table
from torch import nn

import awsrn_fast
from awsrn_fast import cli
from awsrn_fast.checkpoint import bundled_names
from awsrn_fast.cli import console
from awsrn_fast.data import upscale
from awsrn_fast.errors import UserError
from awsrn_fast.figure import comparison, panels, sharpest_differences
from awsrn_fast.files import replacing, write_text
from awsrn_fast.metrics import Score, super_resolve
from awsrn_fast.models import SuperResolution

from . import cost
from .measure import Method, complain_about, measure
from .results import Results
from .sets import ImageSet

NUMBERS = {4: "Table I, x4", 8: "Table II, x8"}
"""Title of the paper's table by scale ("x3" in its text on the second is a slip)."""

MEASURED = "measured here"
PUBLISHED = "published"
CLAIMED = "the paper's claim"


@dataclass(frozen=True)
class Row:
    """Row of a table: a method, the source of its figures, and its scores by set (None: unknown)."""

    method: str
    source: str
    scores: Mapping[str, Score | None]


# The bicubic and AWSRN rows are the paper's own, those of AWSRN (arXiv 1904.02358). The claim is stated above every
# published network on B100, and its PSNR and SSIM do not fit each other.
_FROM_PAPER = {
    4: (
        Row("bicubic", PUBLISHED, {"B100": Score(25.96, 0.6675), "Urban100": Score(23.14, 0.6577)}),
        Row("AWSRN", PUBLISHED, {"B100": Score(27.64, 0.7385), "Urban100": Score(26.29, 0.7930)}),
        Row("improved AWSRN", CLAIMED, {"B100": Score(28.47, 0.7592), "Urban100": Score(27.35, 0.8169)}),
    ),
    8: (
        Row("bicubic", PUBLISHED, {"B100": Score(23.67, 0.5480), "Urban100": Score(20.74, 0.5160)}),
        Row("AWSRN", PUBLISHED, {"B100": Score(24.80, 0.5967), "Urban100": Score(22.45, 0.6174)}),
        Row("improved AWSRN", CLAIMED, {"B100": Score(25.32, 0.6214), "Urban100": Score(23.18, 0.6438)}),
    ),
}


def write_tables(
    folder: Path,
    sets: Sequence[ImageSet],
    weights: Sequence[str],
    place: Callable[[SuperResolution], nn.Module],
    where: str,
) -> int:
    """Measure bicubic and each network, print both tables with their costs, write ``folder/tables.md`` and pictures.

    Args:
        folder: where to write.
        sets: benchmark sets such as B100 and Urban100.
        weights: files or bundled names; scales other than 4 and 8 are left out; empty: every bundled one.
        place: places a network on its device.
        where: description of device and dtype for the cost tables.

    Returns:
        The exit status.
    """
    methods: dict[int, dict[str, Method]] = {scale: {"bicubic": partial(upscale, scale=scale)} for scale in NUMBERS}
    networks: dict[int, dict[str, SuperResolution]] = {scale: {} for scale in NUMBERS}
    for name in weights or bundled_names():
        model = awsrn_fast.load(name)
        facts = model.facts
        if facts.scale not in NUMBERS:
            if weights:
                console.print(f"{name} is for x{facts.scale}, which the tables do not have: left out")
            continue
        plain = Path(name).stem if Path(name).suffix else name
        title = f"{plain} ({facts.parameters / 1e3:,.0f} K parameters)"
        if title in methods[facts.scale]:
            raise UserError(f"two of the weights are called {title}: rename one file")
        methods[facts.scale][title] = partial(super_resolve, place(model))
        networks[facts.scale][plain] = model
    failed, text = 0, []
    for scale, of_scale in methods.items():
        results, failures = measure(sets, {_ending(title): method for title, method in of_scale.items()}, scale, None)
        complain_about(failures, sets)
        failed += len(failures)
        lines = [*_FROM_PAPER[scale], *(_measured(title, results, sets) for title in of_scale)]
        names = [image_set.name for image_set in sets]
        cli.results.print(printed(scale, lines, names))
        text.append(markdown(scale, lines, names))
        costs = cost.measure_cost(cost.with_counterparts(networks[scale], scale), scale, place)
        cli.results.print(cost.printed(costs, scale, where))
        text.append(cost.markdown(costs, scale, where))
        if len(of_scale) > 1:
            text += [_pictures(folder, image_set, of_scale, results, scale) for image_set in sets]
    write_text(folder / "tables.md", "\n".join(text))
    console.print(f"written: {folder / 'tables.md'} and its pictures", soft_wrap=True)
    return 1 if failed else 0


def _ending(title: str) -> str:
    return f" {title}"


def _measured(title: str, results: Results, sets: Sequence[ImageSet]) -> Row:
    return Row(title, MEASURED, {s.name: results.mean(s.name + _ending(title)) for s in sets})


def _pictures(folder: Path, image_set: ImageSet, methods: Mapping[str, Method], results: Results, scale: int) -> str:
    """Comparison figures of the images with the first network's largest and median gain; as Markdown."""
    bicubic, first = (results.scores[image_set.name + _ending(title)] for title in list(methods)[:2])
    ranked = sorted(first, key=lambda image: first[image].psnr - bicubic[image].psnr, reverse=True)
    text = []
    for kind, image in {"largest": ranked[:1], "median": ranked[len(ranked) // 2 :][:1]}.items():
        for name in image:
            lr, hr = image_set.pair(name, scale)
            made = {title.split(" (")[0]: method(lr) for title, method in methods.items()}
            interpolated, enlarged = list(made.values())[:2]
            boxes = sharpest_differences(interpolated, enlarged, 2, 80, scale)
            file = folder / f"{image_set.name}-x{scale}-{kind}.png"
            with replacing(file) as beside:
                comparison(hr, boxes, panels(lr, made, hr, scale)).save(beside)
            text.append(f"![{name}]({file.name})\n\n{image_set.name} x{scale}, {name}: the image of the {kind} gain.\n")
    return "\n".join(text)


def printed(scale: int, lines: Sequence[Row], sets: Sequence[str]) -> Table:
    """The table for the terminal."""
    table = Table(title=NUMBERS[scale], title_justify="left")
    for heading in ("method", "source"):
        table.add_column(heading)
    for name in sets:
        table.add_column(name, justify="right")
    for row in lines:
        table.add_row(row.method, row.source, *(_figures(row.scores.get(name)) for name in sets))
    return table


def markdown(scale: int, lines: Sequence[Row], sets: Sequence[str]) -> str:
    """The same table in Markdown."""
    out = [f"### {NUMBERS[scale]}", "", f"| method | source | {' | '.join(sets)} |", "|---" * (2 + len(sets)) + "|"]
    for row in lines:
        figures = " | ".join(_figures(row.scores.get(name)) for name in sets)
        out.append(f"| {row.method} | {row.source} | {figures} |")
    return "\n".join(out) + "\n"


def _figures(score: Score | None) -> str:
    return f"{score.psnr:.2f} / {score.ssim:.4f}" if score else "-"
