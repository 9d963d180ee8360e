"""Memory of fused and eager forms compared without running them: ``python benchmarks/memory_table.py [--dtype fp16]``.

Fake tensors carry shapes only, so that sizes larger than any machine can be counted. For an op: the bytes kept
for the backward beyond the arguments and the outputs, and the peak of forward and backward over the arguments. For a
network: the peak of a training step's or an inference's activations, gradients and temporaries. What a kernel takes
and frees internally is not counted (a kernel's scratch is bounded by tile and threads, not by the map).
"""

from __future__ import annotations

import argparse
import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from rows import DTYPE_NAMES
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from awsrn_fast import backends, ops
from awsrn_fast.memory import Network, Target, Tracker, predict_inference, predict_training
from awsrn_fast.ops._cases import Case


class Bytes(NamedTuple):
    """Bytes kept for the backward, and the peak."""

    saved: int
    peak: int


def of_op(op: str, case: Case, dtype: torch.dtype, backend: str) -> Bytes:
    """Memory of one call with all gradients on ``backend`` (or "naive", the literal equations of non_local)."""
    function = naive_non_local if backend == "naive" else ops.ROWS[op]
    with _fake(op, "reference" if backend == "naive" else backend):
        arguments = {
            name: None if shape is None else torch.empty(shape, dtype=dtype, requires_grad=True)
            for name, shape in case.shapes.items()
        } | case.options
        leaves = [v for v in arguments.values() if isinstance(v, Tensor)]
        known = {_storage(leaf) for leaf in leaves}
        kept: dict[int, Tensor] = {}
        with Tracker() as tracker:

            def keep(tensor: Tensor) -> Tensor:
                kept[_storage(tensor)] = tensor
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                outputs = function(**arguments)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            known |= {_storage(y) for y in outputs}
            saved = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in known)
            kept.clear()
            torch.autograd.grad(outputs, leaves, [torch.empty_like(y) for y in outputs])
        return Bytes(saved, tracker.peak)


def naive_non_local(x: Tensor, **weights: Any) -> Tensor:
    """Equations 7 to 10 literally: the scores of all pairs of positions in memory."""
    n, _, height, width = x.shape
    tokens = x.flatten(2)
    theta, phi, g = (
        weights[f"w_{p}"] @ tokens + weights[f"b_{p}"][:, None] for p in ("theta", "phi", "g")
    )  # [N, D, H*W]
    scores = torch.softmax(theta.transpose(1, 2) @ phi, dim=-1)
    z = weights["w_z"] @ (g @ scores.transpose(1, 2)) + weights["b_z"][:, None]
    return x + z.reshape(n, -1, height, width)


@contextmanager
def _fake(op: str, backend: str) -> Iterator[None]:
    with warnings.catch_warnings(), FakeTensorMode(), backends.use_backend(**{op: backend}):
        warnings.simplefilter("ignore")
        yield


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def op_table(dtype: torch.dtype) -> Iterator[tuple[str, ...]]:
    """Table of the ops: op, shape, saved and peak bytes with our kernels and eager, and their ratio."""
    for op in ops.ROWS:
        for case in importlib.import_module(f"awsrn_fast.ops.{op}.cases").BENCHMARKS:
            eager = of_op(op, case, dtype, "naive" if op == "non_local" and "block" not in case.name else "reference")
            call = backends.Call("cpu", None, dtype, next(iter(case.shapes.values())))
            able = [
                n for n in backends.registered(op) if n != "reference" and not backends.reasons_against(op, n, call)
            ]
            fused = able[0] if able else None
            yield _line(op, case.name, of_op(op, case, dtype, fused) if fused else None, eager)


def network_table(dtype: torch.dtype) -> Iterator[tuple[str, ...]]:
    """Table of the networks: training steps of 16 patches of 48x48 and inference at three sizes."""
    target = Target("cpu", None, dtype)
    for variant in ("improved-s", "improved-full", "awsrn-s", "awsrn-full"):
        network = Network(variant, 4)
        yield _pair(variant, "training", lambda network=network: predict_training(network, target, 16, 48).work)
        for height, width in ((128, 128), (256, 256), (720, 1280)):
            work = lambda n=network, h=height, w=width: predict_inference(n, target, h, w).work  # noqa: E731
            yield _pair(variant, f"{width}x{height}", work)


def _pair(name: str, what: str, work: Callable[[], int]) -> tuple[str, ...]:
    fused = Bytes(0, work())
    with backends.use_backend("reference"):
        return _line(name, what, fused, Bytes(0, work()))


def _line(name: str, what: str, fused: Bytes | None, eager: Bytes) -> tuple[str, ...]:
    columns = [f"{b / 2**20:,.1f}" for b in (*(fused or ()), *eager)] if fused else ["-", "-", *map(_mib, eager)]
    return name, what, *columns, f"{eager.peak / fused.peak:.2f}" if fused and fused.peak else "-"


def _mib(value: int) -> str:
    return f"{value / 2**20:,.1f}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = {name: dtype for dtype, name in DTYPE_NAMES.items()}
    parser.add_argument("--dtype", choices=names, default="fp32")
    parser.add_argument("--networks", action="store_true", help="whole networks, too (a minute)")
    args = parser.parse_args(argv)
    dtype = names[args.dtype]
    print("| what | shape | fused: saved MiB | peak MiB | eager: saved MiB | peak MiB | peak ratio |")
    print("|---|---|---|---|---|---|---|")
    for line in op_table(dtype):
        print(f"| {' | '.join(line)} |", flush=True)
    for line in network_table(dtype) if args.networks else ():
        print(f"| {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    main()
