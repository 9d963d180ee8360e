"""Damaged and unusual weights files through ``awsrn_fast.load``: ``python weights.py COUNT FIRST_SEED``."""

from __future__ import annotations

import io
import random
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from mutations import mutated
from safetensors.torch import save
from watch import watched

import awsrn_fast
from awsrn_fast.models import create

HEADERS = (
    "null",
    "[1]",
    '"x"',
    "7",
    "{",
    "[" * 5000,
    '{"hyper": [1]}',
    '{"hyper": {"block": "y"}}',
    '{"training": 3}',
    '{"hyper": {"halo": -1}}',
    '{"hyper": {"block": 1e99}}',
    '{"hyper": {"unknown": 1}}',
)


def files() -> dict[str, bytes]:
    """Good files of each format, by suffix and format."""
    state = create("awsrn-sd", 2).state_dict()
    return {
        "header.safetensors": save(state, {"awsrn_fast": '{"hyper": {"scale": 2}, "training": {"iteration": 3}}'}),
        "plain.safetensors": save(state),
        "zip.pth": pickled(state),
        "nested.pth": pickled({"params_ema": {f"module.{name}": value for name, value in state.items()}}),
        "legacy.pth": pickled(state, zipped=False),
    }


def pickled(content: Any, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def unusual(seed: int) -> Any:
    """A state dict with one or two tensors or names that a network cannot take, or just barely."""
    draw = random.Random(seed)
    state: dict[Any, Any] = dict(create("awsrn-sd", 2).state_dict())
    for _ in range(draw.choice((1, 1, 2))):
        name = draw.choice(list(state))
        value = state.pop(name)
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized:
            continue
        change = draw.choice(list(CHANGES))
        state[name if change != "name" else draw.choice(NAMES)] = CHANGES[change](value)
    return draw.choice((state, {"state_dict": state}, {"model": {"params": state}}, [state], {1: state}))


NAMES = (
    "tail.tail_k999999.weight_v",
    "body.4000.b0.body.0.bias",
    "body.0.b70000.body.0.bias",
    "x",
    "",
    3,
    "tail.tail_k2.bias",
    "module.head.0.bias",
    "_orig_mod.head.0.bias",
    "n_averaged",
    "non_local.z.weight",
    "\x1b[31m\n",
)
CHANGES: dict[str, Callable[[torch.Tensor], Any]] = {
    "name": lambda t: t,
    "int8": lambda t: t.to(torch.int8),
    "complex": lambda t: t.to(torch.complex64),
    "bool": lambda t: t > 0,
    "half": lambda t: t.half(),
    "double": lambda t: t.double() * 1e200,
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "quantised": lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    "sparse": lambda t: t.to_sparse(),
    "meta": lambda t: t.to("meta"),
    "zero-dimensional": lambda t: t.flatten()[0].clone(),
    "one dimension less": lambda t: t[0].clone() if t.dim() else t,
    "empty": lambda t: t.flatten()[:0].clone(),
    "9.5 GB of stride 0": lambda t: torch.zeros(1, dtype=torch.float16).expand(2_400_000_000),
    "its shape of stride 0": lambda t: t.flatten()[:1].clone().expand(t.shape) if t.dim() else t,
    "wide": lambda t: torch.zeros(1).expand(50_000_000, 3, 3, 3),
    "not contiguous": lambda t: t.transpose(0, -1).contiguous().transpose(0, -1) if t.dim() else t,
    "NaN": lambda t: t * float("nan"),
    "infinite": lambda t: t + float("inf"),
    "parameter": torch.nn.Parameter,
    "a list": lambda t: t.tolist(),
    "none": lambda t: None,
    "nested lists": lambda t: _deep(200),
}


def _deep(levels: int) -> list:
    inner: list = []
    for _ in range(levels):
        inner = [inner]
    return inner


def cases(count: int, first: int, folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    def case(name: str, suffix: str, content: bytes) -> tuple[str, Callable[[], object]]:
        path = folder / f"weights{suffix}"
        path.write_bytes(content)
        return name, lambda: awsrn_fast.load(path)

    good = files()
    for name, content in good.items():
        assert awsrn_fast.load(_written(folder / name, content)).scale == 2
    state = create("awsrn-sd", 2).state_dict()
    for text in HEADERS:
        yield case(f"header {text[:40]}", ".safetensors", save(state, {"awsrn_fast": text}))
    for seed in range(first, first + count):
        name = random.Random(seed).choice((*good, "unusual"))
        if name == "unusual":
            yield case(f"unusual, seed {seed}", ".pth", pickled(unusual(seed), zipped=bool(seed % 3)))
        else:
            yield case(f"{name}, seed {seed}", Path(name).suffix, mutated(good[name], seed))


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        sys.exit(min(watched(cases(int(sys.argv[1]), int(sys.argv[2]), Path(place))), 100))
