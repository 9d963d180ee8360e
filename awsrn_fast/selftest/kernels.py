"""Every op on every backend, dtype and direction that this machine can run, against fp64."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from awsrn_fast import backends, native, ops
from awsrn_fast.ops._accuracy import Deviation, deviations, forward_and_gradients
from awsrn_fast.ops._cases import Case

from .outcome import Outcome, judged

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
Results = Mapping[str, Tensor]


class Place(NamedTuple):
    """Place where kernels run: a device, and on a CPU one of the library's instruction sets (empty: no choice)."""

    device: str
    isa: str = ""

    def __str__(self) -> str:
        return f"{self.device}-{self.isa}" if self.isa else self.device


def places(devices: list[str]) -> list[Place]:
    """Each device, the CPU once for each of its instruction sets."""
    isas = native.cpu.available_isas() if native.cpu else [""]
    return [Place(device, isa) for device in devices for isa in (isas if device == "cpu" else [""])]


def name_of(op: str, backend: str, place: Place, dtype: torch.dtype, direction: str) -> str:
    return f"{op}/{backend}/{place}/{str(dtype).removeprefix('torch.')}/{direction}"


def check_ops(chosen: list[str], where: list[Place], planted: str, seen: Callable[[Outcome], None]) -> None:
    """Check the ops, case by case, and tell ``seen`` each outcome.

    Args:
        chosen: the ops.
        where: as :func:`places` gives it.
        planted: name of a check whose first result is to be broken, as a test of the test; empty: none.
        seen: called with each outcome.
    """
    for op in chosen:
        for dtype in DTYPES:
            truths: dict[str, tuple[dict[str, Any], Results, Results]] = {}
            for place in where:
                for backend in sorted(backends.registered(op)):
                    if backend == "reference" or backend not in _offered(place):
                        continue
                    for outcome in _check(op, backend, place, dtype, truths, planted):
                        seen(outcome)


def _offered(place: Place) -> tuple[str, ...]:
    return backends.order(backends.Call(torch.device(place.device).type, None, torch.float32, ()))


def _check(
    op: str,
    backend: str,
    place: Place,
    dtype: torch.dtype,
    truths: dict[str, tuple[dict[str, Any], Results, Results]],
    planted: str,
) -> Iterator[Outcome]:
    names = {direction: name_of(op, backend, place, dtype, direction) for direction in ("forward", "backward")}
    found: dict[str, list[tuple[str, Deviation]]] = {direction: [] for direction in names}
    start, why = time.perf_counter(), []
    for case in importlib.import_module(f"awsrn_fast.ops.{op}.cases").CASES:
        arguments = case.make(dtype, place.device)
        why = backends.reasons_against(op, backend, _call(op, arguments))
        if why:  # of this case's sizes, or of all
            continue
        exact, same_dtype = _truth(op, case, dtype, truths)
        try:
            with using(place), backends.use_backend(**{op: backend}):
                got = {name: t.cpu() for name, t in forward_and_gradients(ops.ROWS[op], arguments).items()}
        except RuntimeError as error:
            seconds = time.perf_counter() - start
            what = f"{case.name}: {str(error).splitlines()[0]}"
            yield from (Outcome(name, "FAILED", None, what, seconds) for name in names.values())
            return
        for direction, name in names.items():
            part = {key: value for key, value in got.items() if key.startswith("output") == (direction == "forward")}
            if name == planted:
                part = broken(part)
            expected, truth = ({key: results[key] for key in part} for results in (same_dtype, exact))
            transformed = bool(backends.registered(op)[backend].algorithm)
            found[direction] += [(case.name, deviation) for deviation in deviations(part, expected, truth, transformed)]
    seconds = (time.perf_counter() - start) / len(names)
    for direction, name in names.items():
        if found[direction]:
            yield judged(name, found[direction], seconds)
        else:
            yield Outcome(name, "not run", detail="; ".join(why))


def _truth(
    op: str, case: Case, dtype: torch.dtype, truths: dict[str, tuple[dict[str, Any], Results, Results]]
) -> tuple[Results, Results]:
    """The reference's results in fp64 and in ``dtype``, once for all backends."""
    if case.name not in truths:
        arguments, reference = case.make(dtype), ops.ROWS[op].reference
        exact = {k: v.double() if isinstance(v, Tensor) else v for k, v in arguments.items()}
        truths[case.name] = (
            arguments,
            forward_and_gradients(reference, exact),
            forward_and_gradients(reference, arguments),
        )
    return truths[case.name][1:]


def _call(op: str, arguments: dict[str, Any]) -> backends.Call:
    return importlib.import_module(f"awsrn_fast.ops.{op}").OP.call_of(**arguments)


@contextmanager
def using(place: Place) -> Iterator[None]:
    """Run CPU kernels of the place's instruction set."""
    if not place.isa:
        yield
        return
    before = native.cpu.isa()
    native.cpu.set_isa(place.isa)
    try:
        yield
    finally:
        native.cpu.set_isa(before)


def broken(results: Results) -> dict[str, Tensor]:
    """The results with one value wrong by the largest in it."""
    wrong = {name: value.clone() for name, value in results.items()}
    for value in wrong.values():
        if value.numel():
            value.view(-1)[0] += 2 * value.abs().max() + 1
            break
    return wrong
