"""A run's logs: metrics.csv, progress bar, TensorBoard, sample images."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from awsrn_fast.cli import console
from awsrn_fast.errors import UserError
from awsrn_fast.files import replacing, write_text

FIXED = 58
"""Terminal columns that the bar needs without the figures."""
COLUMNS = ("iteration", "loss", "lr", "images_per_s", "val_psnr")


class Metrics:
    """Writer of metrics.csv, a row at a time; on resume the rows after the checkpoint are removed.

    Args:
        path: the file.
        iteration: steps completed at the checkpoint that is resumed; 0: a new run.
        tensorboard: folder for TensorBoard events, or None.
        columns: column names, if not those of metrics.csv; the first is "iteration".
    """

    def __init__(
        self, path: Path, iteration: int, tensorboard: Path | None, columns: tuple[str, ...] = COLUMNS
    ) -> None:
        self.path, self.columns = path, columns
        kept = [row for row in _rows(path, columns) if int(row["iteration"]) <= iteration] if iteration else []
        write_text(path, _as_csv(kept, columns))
        self.events = None if tensorboard is None else _events(tensorboard, iteration)

    def add(self, iteration: int, **values: float) -> None:
        """Append a row; columns without a value stay empty."""
        row = {"iteration": iteration, **{name: f"{value:.6g}" for name, value in values.items()}}
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)
        if self.events is not None:
            for name, value in values.items():
                self.events.add_scalar(name, value, iteration)
            self.events.flush()


class _Figures(ProgressColumn):
    """Column with the latest PSNR and the last row of metrics.csv, as much as fits the terminal's width."""

    def render(self, task: Task) -> Text:
        text = f"{task.fields['psnr']}{task.fields['figures']}"
        room = max(0, console.width - FIXED)
        return Text(text if len(text) <= room else text[:room].rpartition(" ")[0])


def progress_bar(visible: bool) -> Progress:
    """Progress bar of a run: iterations, time left, PSNR, loss, learning rate, images/s."""
    return Progress(
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(bar_width=16 if console.width > FIXED else 4),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        _Figures(),
        console=console,
        disable=not (visible and console.is_terminal),
    )


def save_samples(path: Path, pictures: dict[str, np.ndarray], side: int = 384) -> None:
    """Write images ``[H, W, 3]`` uint8 side by side under their captions, the same centre crop of each.

    Args:
        path: PNG to write.
        pictures: caption -> picture; all of the first one's size.
        side: largest side of the part, in pixels.
    """
    height, width = next(iter(pictures.values())).shape[:2]
    tall, wide = min(side, height), min(side, width)
    top, left, caption = (height - tall) // 2, (width - wide) // 2, 16
    sheet = Image.new("RGB", (wide * len(pictures), tall + caption), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (text, picture) in enumerate(pictures.items()):
        sheet.paste(Image.fromarray(picture[top : top + tall, left : left + wide]), (i * wide, caption))
        draw.text((i * wide + 4, 2), text, fill="black")
    with replacing(path) as beside:
        sheet.save(beside)


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if None not in row and row[columns[-1]] is not None]


def _as_csv(rows: list[dict[str, str]], columns: tuple[str, ...]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _events(folder: Path, iteration: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise UserError("--tensorboard needs the package tensorboard: pip install tensorboard") from error
    return SummaryWriter(folder, purge_step=iteration or None)
