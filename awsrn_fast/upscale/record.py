"""The record of a run: what went in, what came out, by which weights, program, machine and options."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from awsrn_fast import backends, environment, ops
from awsrn_fast.checkpoint import weights_file
from awsrn_fast.errors import UserError
from awsrn_fast.files import write_text
from awsrn_fast.inference import Placed
from awsrn_fast.inference.process_memory import peak
from awsrn_fast.page import write_report

from . import digests
from .enlarger import Enlarger
from .fields import IMAGE
from .pipes import plain
from .plan import Job

FORMAT = "awsrn_fast upscale 1"
NOT_OPTIONS = ("error_map", "inputs", "more", "out", "report", "list_weights", "size", "weights")
"""Arguments that the record has elsewhere, or that change nothing of a result."""


def check_report(path: Path, part_of_many: bool, overwrite: bool) -> None:
    """Raise UserError for a record that cannot be written, before any computation."""
    if path.suffix.lower() != ".json":
        raise UserError(f"--report {path}: a record is a .json file, with a page beside it")
    if part_of_many:
        raise UserError(
            "--report is one file, torchrun's processes would each write it: use --shard and a name for each"
        )
    for file in (path, path.with_suffix(".html")):
        if file.exists() and not overwrite:
            raise UserError(f"{file} exists: give --overwrite to replace it, or choose another --report")


class Record:
    """The record of one run, filled while it goes on.

    Args:
        args: the command's arguments.
        weights: name or file of the weights.
        placed: the network on its device.
        kernel: what results are consistent with; None: they need not be.
    """

    def __init__(self, args: argparse.Namespace, weights: str, placed: Placed, kernel: str | np.ndarray | None) -> None:
        file = weights_file(weights)
        facts = environment.report()
        self.path: Path = args.report
        self._began = time.perf_counter()
        self._about = {
            "format": FORMAT,
            "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": facts["versions"],
            "machine": {
                "cpu": facts["cpu"],
                "gpus": facts["gpus"]["devices"],
                "native library": facts["native"]["cpu"]["build"],
            },
            "device": str(placed.device),
            "kernels": chosen(placed),
            "weights": {
                "name": weights,
                "file": os.path.abspath(file),
                "sha256": digests.of_file(file),
                "variant": placed.facts.variant,
                "scale": placed.facts.scale,
            },
            "options": _options(args) | {"kernel": kernel.tolist() if isinstance(kernel, np.ndarray) else kernel},
        }
        self._images: list[dict[str, Any]] = []

    def begin(self, job: Job) -> None:
        """Note an input before it is read."""
        source = Path(os.path.abspath(job.source))
        size = source.stat().st_size if source.is_file() else None
        self._current: dict[str, Any] = {
            "kind": job.field.title,
            "input": {"file": plain(str(source)), "bytes": size, "sha256": digests.of_file(source) if size else None},
        }
        self._images.append(self._current)
        self._started = time.perf_counter()

    def done(self, job: Job, before: tuple[int, int], after: tuple[int, int], enlarger: Enlarger, stats: str) -> None:
        """Note its result; sizes are (height, width)."""
        seconds = time.perf_counter() - self._started
        self._current["input"] |= {"height": before[0], "width": before[1]}
        self._current |= {
            "output": {
                "file": plain(os.path.abspath(job.target)),
                "height": after[0],
                "width": after[1],
                "sha256": digests.of_file(job.target),
                "pixels_sha256": digests.of_pixels(job.target) if job.field is IMAGE else None,
            },
            "tile": enlarger.tile,
            "gates": {"mode": stats, "deviation": _numbers(enlarger.deviation)},
            "residual": None,
            "seconds": round(seconds, 3),
        }
        if (found := enlarger.consistency) is not None:
            self._current["residual"] = {
                "kernel": found.model.name,
                "before": _numbers(found.before),
                "after": _numbers(found.after) if found.rounds else None,
            }

    def failed(self, message: str) -> None:
        """Note why there is no result."""
        self._current["failed"] = plain(message)

    def write(self) -> None:
        """Write the file and the page beside it.

        Raises:
            RunError: they cannot be written.
        """
        content = self._about | {
            "images": self._images,
            "seconds": round(time.perf_counter() - self._began, 3),
            "peak_memory_bytes": peak(),
        }
        write_text(self.path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        write_report(self.path.with_suffix(".html"), f"Record of {len(self._images)} images", content)


def chosen(placed: Placed) -> dict[str, str | None]:
    """The backend of each op, as now chosen, for maps of the network's device and dtype."""
    capability = torch.cuda.get_device_capability(placed.device) if placed.device.type == "cuda" else None
    call = backends.Call(placed.device.type, capability, placed.dtype, (1, 32, 48, 48))
    return {op: backends.explain(op, call).chosen for op in ops.ROWS}


def _options(args: argparse.Namespace) -> dict[str, Any]:
    kept = {name: value for name, value in vars(args).items() if name not in NOT_OPTIONS}
    return {name: value if isinstance(value, (int, float, str, bool)) else None for name, value in kept.items()}


def _numbers(found: Any) -> Mapping[str, float] | None:
    """Largest and rms, in gray levels, of a deviation or a residual."""
    return None if found is None else {"largest": round(found.largest, 4), "rms": round(found.rms, 4)}
