"""``python -m awsrn_fast.export``: conversion of weights to files that other programs can load."""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

import awsrn_fast
from awsrn_fast.arguments import Parser
from awsrn_fast.checkpoint import save_weights, weights_file
from awsrn_fast.cli import console
from awsrn_fast.errors import UserError
from awsrn_fast.files import replacing, write_text
from awsrn_fast.models import SuperResolution

from .programs import describe, onnx_program, torch_program
from .record import record

EPILOG = """
By the suffix of FILE: .onnx (ONNX, for ONNX Runtime, OpenVINO, TensorRT and others; needs pip install onnx
onnxscript), .pt2 (torch.export; torch.export.load reads it without this package), .safetensors (weights with
the network's sizes in the header; awsrn_fast.load reads it), .json (a record of the weights file for catalogues, in
OpenModelDB's form: sizes, scale, SHA-256, data). The first two take one fp32 image [1, 3, height, width],
RGB in [0, 1], of any size, and hold plain PyTorch's operators. Exit status: 0 done, 1 failed, 2 wrong usage.
"""


def parser() -> Parser:
    """The command's arguments."""
    p = Parser("export", description="Export a network to a format that other programs load.", epilog=EPILOG)
    p.add_argument("weights", help="weights file (.safetensors, or .pth of the public code) or a bundled name")
    p.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help=f"one of {', '.join(WRITERS)}")
    p.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    p.add_argument(
        "--clamp",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="limit the output to [0, 1]; .onnx and .pt2 (default: yes)",
    )
    p.add_argument("--half", action="store_true", help="store the numbers as float16; .safetensors")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status. Raises UserError on wrong usage, before any computation."""
    args = parser().parse_args(argv)
    write = WRITERS.get(args.out.suffix.lower())
    if write is None:
        raise UserError(f"cannot write {args.out}: the suffix must be one of {', '.join(WRITERS)}")
    if args.out.exists() and not args.overwrite:
        raise UserError(f"{args.out} exists: give --overwrite to replace it")
    if args.half and write is not _safetensors:
        raise UserError("--half is for .safetensors; the others are float32")
    model = awsrn_fast.load(args.weights)
    write(model, args)
    facts = model.facts
    console.print(f"{args.out}: {facts.variant} x{facts.scale}, {args.out.stat().st_size / 1e6:.2f} MB")
    return 0


def _onnx(model: SuperResolution, args: argparse.Namespace) -> None:
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX needs {' and '.join(missing)}: pip install onnx onnxscript")
    program = onnx_program(model, args.clamp)
    with replacing(args.out) as beside:
        program.save(beside, external_data=False)


def _pt2(model: SuperResolution, args: argparse.Namespace) -> None:
    program = torch_program(model, args.clamp)
    with replacing(args.out) as beside:
        torch.export.save(program, beside, extra_files={"awsrn_fast.json": json.dumps(describe(model, args.clamp))})


def _safetensors(model: SuperResolution, args: argparse.Namespace) -> None:
    dtype = torch.float16 if args.half else torch.float32
    save_weights(args.out, model, training=model.training_facts, dtype=dtype)


def _record(model: SuperResolution, args: argparse.Namespace) -> None:
    made = record(weights_file(args.weights), model.network, model.facts)
    write_text(args.out, json.dumps(made, indent=2, ensure_ascii=False) + "\n")


WRITERS: dict[str, Callable[[SuperResolution, argparse.Namespace], None]] = {
    ".onnx": _onnx,
    ".pt2": _pt2,
    ".safetensors": _safetensors,
    ".json": _record,
}
