"""The benchmark's rows as data: the ops' cases and whole networks."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace

import torch

from awsrn_fast import ops
from awsrn_fast.ops._cases import Case

DTYPE_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True)
class OpRow:
    """One call of an op, forward alone or with all gradients."""

    op: str
    case: Case
    dtype: torch.dtype
    backward: bool
    quick: bool = False

    @property
    def name(self) -> str:
        direction = "forward+backward" if self.backward else "forward"
        return f"{self.op} {direction}, {self.case.name}, {DTYPE_NAMES[self.dtype]}"


@dataclass(frozen=True)
class NetworkRow:
    """Inference of a fused network on one LR image."""

    variant: str
    scale: int
    height: int
    width: int
    dtype: torch.dtype
    quick: bool = False

    @property
    def name(self) -> str:
        return f"{self.variant} x{self.scale}, {self.width}x{self.height}, {DTYPE_NAMES[self.dtype]}"


@dataclass(frozen=True)
class TrainingRow:
    """A training step of a size-S network on ``batch`` LR patches."""

    network: str
    dtype: torch.dtype
    patch: int = 48
    batch: int = 16
    quick: bool = False

    @property
    def name(self) -> str:
        return f"training step {self.network} x4, {self.batch} of {self.patch}x{self.patch}, {DTYPE_NAMES[self.dtype]}"


Row = OpRow | NetworkRow | TrainingRow
QUICK_OPS = {"training", "head, training", "unit, training", "fusion, training", "x4, training"}
QUICK_OPS |= {"block, 128x128", "head, 128x128"}
QUICK_ON_GPUS = {"64 channels, 256x256", "d=32, 96x96", "x4, 128x128"}
"""Additional quick rows on GPUs, where they take milliseconds; report.py compares Turing cards by them."""


def op_rows(dtypes: tuple[torch.dtype, ...]) -> list[OpRow]:
    """Every benchmark case of every op, in each dtype (quick rows only in the first), forward and forward+backward."""
    quick_ops = QUICK_OPS | (QUICK_ON_GPUS if dtypes[0] == torch.float16 else set())
    rows = []
    for op in ops.ROWS:
        for case in importlib.import_module(f"awsrn_fast.ops.{op}.cases").BENCHMARKS:
            for dtype in dtypes:
                for backward in (False, True):
                    quick = case.name in quick_ops and dtype == dtypes[0] and backward == case.name.endswith("training")
                    rows.append(OpRow(op, case, dtype, backward, quick))
    return rows


def network_rows(dtypes: tuple[torch.dtype, ...]) -> list[NetworkRow]:
    """Baseline and improved, three sizes, x2 and x4, 128x128, 256x256 and 1280x720 LR."""
    rows = []
    for dtype in dtypes:
        for height, width in ((128, 128), (256, 256), (720, 1280)):
            for scale in (4, 2):
                for variant in ("improved-s", "awsrn-s", "improved-full", "awsrn-full", "improved-m", "awsrn-m"):
                    quick = variant.endswith("-s") and scale == 4 and height == 128 and dtype == dtypes[0]
                    rows.append(NetworkRow(variant, scale, height, width, dtype, quick))
    return rows


def training_rows(dtypes: tuple[torch.dtype, ...], training: torch.dtype | None) -> list[TrainingRow]:
    """Baseline and improved S in each dtype; the quick ones in ``training``, or in half precision."""
    quick = {training} if training else set(dtypes) - {torch.float32}
    return [TrainingRow(n, d, quick=d in quick) for n in ("AWSRN-S", "improved-s") for d in dtypes]


def all_rows(dtypes: tuple[torch.dtype, ...], training: torch.dtype | None = None) -> list[Row]:
    """Every row; ``training`` is the machine's default training dtype."""
    return [*op_rows(dtypes), *network_rows(dtypes), *training_rows(dtypes, training)]


def tiny(row: Row) -> Row:
    """The same row on a few pixels, as a smoke test."""
    if isinstance(row, NetworkRow):
        return replace(row, height=7, width=9)
    if isinstance(row, TrainingRow):
        return replace(row, patch=6, batch=1)
    shapes = {name: _tiny(shape) for name, shape in row.case.shapes.items()}
    options = row.case.options
    if options.get("block"):
        options = options | {"block": 4, "halo": 1}
    return replace(row, case=replace(row.case, shapes=shapes, options=options))


def _tiny(shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Maps are the only shapes with two sides above a kernel's."""
    if shape is None or len(shape) != 4 or min(shape[2:]) <= 9:
        return shape
    return (*shape[:2], 7, 9)
