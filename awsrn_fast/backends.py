"""Selection of the implementation that runs an op.

Every op registers its backends here, each with a function that says why it cannot run a given call. The choice
is a pure function of the call (device, architecture, dtype, shape) and of :func:`use_backend`; nothing is read from
the environment and nothing is cached at call time, so that ``torch.compile`` keeps whole graphs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

NAMES = ("cpu", "cuda", "triton", "reference")
_FORMER = {"native": "cpu"}


class Call(NamedTuple):
    """Call that a choice depends on: device type, CUDA compute capability, dtype and shape of the op's first input."""

    device: str
    capability: tuple[int, int] | None
    dtype: torch.dtype
    shape: tuple[int, ...]
    sizes: tuple[tuple[str, int], ...] = ()
    """The op's sizes by the names that they have in its documentation, such as ``("K", 9)``, where they are known."""

    def size(self, name: str) -> int:
        """The size of this name, 0 if unknown."""
        return dict(self.sizes).get(name, 0)


class Backend(NamedTuple):
    """One implementation of one op: how to run it, and why it cannot run a call (empty: it can)."""

    run: Callable[..., Any]
    reasons_against: Callable[[Call], list[str]]
    algorithm: str = ""
    """Name of a transformed algorithm (Winograd), whose rounding has a bound of its own; empty: a direct one."""


@dataclass(frozen=True)
class Explanation:
    """Answer of :func:`explain`: the backend that would run, and the reasons against each one that would not."""

    op: str
    chosen: str | None
    against: dict[str, list[str]]

    def __str__(self) -> str:
        refusals = "; ".join(f"{name}: {', '.join(why)}" for name, why in self.against.items())
        return f"{self.op}: {self.chosen or 'no backend'}" + (f" ({refusals})" if refusals else "")


class BackendError(RuntimeError):
    """A backend was asked for by name and cannot run this call."""


_TABLE: dict[str, dict[str, Backend]] = {}
_SIZES: dict[str, tuple[str, ...]] = {}
# A plain global: torch.compile guards on it and recompiles when it changes; it cannot trace a ContextVar.
_asked: dict[str, str] = {}
_planned: tuple[str, tuple[int, int] | None] | None = None
_EVERY_OP = "*"


def register(
    op: str, name: str, run: Callable[..., Any], reasons_against: Callable[[Call], list[str]], algorithm: str = ""
) -> None:
    """Add an implementation of ``op``; ``name`` is one of :data:`NAMES`, the rest as in :class:`Backend`."""
    if name not in NAMES:
        raise ValueError(f"backend {name!r} of {op}: the names are {', '.join(NAMES)}")
    _TABLE.setdefault(op, {})[name] = Backend(run, reasons_against, algorithm)


def register_reference(op: str, run: Callable[..., Any], dims: dict[str, str]) -> None:
    """Add the plain PyTorch implementation of ``op``, which runs everything, and the names of the op's sizes.

    Args:
        op, run: as in :func:`register`.
        dims: dimensions of each tensor among the arguments, such as ``"N C H W"``.
    """
    register(op, "reference", run, lambda call: [])
    names = {name for spec in dims.values() for name in spec.split() if name.isalpha()}
    _SIZES[op] = tuple(sorted(names))


def registered(op: str) -> dict[str, Backend]:
    """The backends of ``op`` by name."""
    return dict(_TABLE[op])


def order(call: Call) -> tuple[str, ...]:
    """Backends to try for ``call``, best first.

    Triton stands behind the hand-written kernels until a benchmark says otherwise for an op; on Turing (sm_75), where
    it has no tensor cores, its kernels with products refuse. ROCm and XPU have Triton alone.
    """
    if call.device == "cpu":
        return ("cpu", "reference")
    if call.device == "cuda" and torch.version.hip is None:
        return ("cuda", "triton", "reference")
    return ("triton", "reference")


@contextmanager
def as_if_on(device: str, capability: tuple[int, int] | None = None) -> Iterator[None]:
    """Context that chooses backends as if all tensors were on ``device``; for fake tensors.

    Args:
        device: device type.
        capability: CUDA compute capability.
    """
    global _planned
    before, _planned = _planned, (device, capability)
    try:
        yield
    finally:
        _planned = before


def call_of(x: torch.Tensor, sizes: dict[str, int] | None = None) -> Call:
    """The call as a choice sees it: facts about the op's first input, and its sizes by name."""
    named = tuple((sizes or {}).items())
    if _planned is not None:
        return Call(*_planned, x.dtype, tuple(x.shape), named)
    capability = torch.cuda.get_device_capability(x.device) if x.device.type == "cuda" else None
    return Call(x.device.type, capability, x.dtype, tuple(x.shape), named)


def current_name(backend: str) -> str:
    """The current name of a backend that may be given by a former name."""
    return _FORMER.get(backend, backend)


@contextmanager
def use_backend(name: str | None = None, **by_op: str) -> Iterator[None]:
    """Run ops on a named backend: ``use_backend("reference")`` for all, ``use_backend(awms="cpu")`` for one.

    ``"auto"`` is the default choice. Asked for all ops, a backend is that of the ops which it implements: the others
    (``channel_attention`` has no ``"cpu"``) choose as without it. The setting holds for the block and for the whole
    process: do not change it while other threads compute.

    Raises:
        ValueError: an unknown backend or op.
        BackendError: (from the op) the backend cannot run the call; it says why.
    """
    asked = ({_EVERY_OP: name} if name is not None else {}) | by_op
    asked = {op: current_name(backend) for op, backend in asked.items()}
    for op, backend in asked.items():
        if op != _EVERY_OP and op not in _TABLE:
            raise ValueError(f"use_backend: no op {op!r}; the ops are {', '.join(sorted(_TABLE))}")
        if backend != "auto" and backend not in NAMES:
            raise ValueError(f"use_backend: no backend {backend!r}; the backends are auto, {', '.join(NAMES)}")
    global _asked
    before, _asked = _asked, _asked | asked
    try:
        yield
    finally:
        _asked = before


def choose(op: str, x: torch.Tensor, sizes: dict[str, int]) -> Callable[..., Any]:
    """The function that runs ``op`` on inputs like ``x``, of these sizes.

    Raises:
        BackendError: the backend asked for by :func:`use_backend` cannot run it.
    """
    call = call_of(x, sizes)
    backends = _TABLE[op]
    asked = _asked_for(op)
    if asked is not None:
        why = reasons_against(op, asked, call)
        if why:
            raise BackendError(f"{op}: backend {asked!r} was asked for and cannot run: {'; '.join(why)}")
        return backends[asked].run
    candidates = [name for name in order(call) if name in backends]
    for name in candidates:
        if not backends[name].reasons_against(call):
            # Where an op has no kernel for the device, plain PyTorch is what is meant to run there.
            if name == "reference" and call.device != "cpu" and len(candidates) > 1:
                _warn_slow(op, call)
            return backends[name].run
    raise BackendError(f"{explain(op, call)}")


def reasons_against(op: str, name: str, call: Call) -> list[str]:
    """Reasons why backend ``name`` cannot run ``call`` of ``op``; empty if it can."""
    if name not in _TABLE[op]:
        return [f"{op} has no {name} implementation"]
    return _TABLE[op][name].reasons_against(call)


def explain(op: str, call: Call | torch.Tensor | None = None, **sizes: int) -> Explanation:
    """Which backend would run ``op`` and why the others would not.

    Args:
        op: name of an op, one of ``awsrn_fast.ops.ROWS``.
        call: the op's first input, or the facts about it; default: fp32 on the CPU, ``[1, 32, 48, 48]``.
        sizes: of the other arguments, by the names in the op's documentation: ``explain("awms", x, K=11)``. Kernels
            have limits to some; what is not given counts as within them.
    """
    if op not in _TABLE:
        raise ValueError(f"explain: no op {op!r}; the ops are {', '.join(sorted(_TABLE))}")
    for name in sizes:
        if name not in _SIZES[op]:
            raise ValueError(f"explain: {op} has no size {name!r}; its sizes are {', '.join(_SIZES[op])}")
    if call is None:
        call = Call("cpu", None, torch.float32, (1, 32, 48, 48))
    if isinstance(call, torch.Tensor):
        call = call_of(call)
    call = call._replace(sizes=(*call.sizes, *sizes.items()))
    candidates = order(call)
    against = {name: reasons_against(op, name, call) for name in NAMES if name in candidates}
    against |= {name: [f"not offered on {_where(call)}"] for name in NAMES if name not in candidates}
    chosen = _asked_for(op) or next((name for name in candidates if not against[name]), None)
    for name in candidates:
        if chosen is not None and name != chosen and not against[name]:
            against[name] = [f"{chosen} comes first"]
    if chosen is not None:
        against.pop(chosen, None)
    return Explanation(op, chosen, against)


def _asked_for(op: str) -> str | None:
    name = _asked.get(op, _asked.get(_EVERY_OP))
    if name == "auto" or (op not in _asked and name not in _TABLE[op]):
        return None
    return name


def _where(call: Call) -> str:
    return f"{call.device} sm_{call.capability[0]}{call.capability[1]}" if call.capability else call.device


def _warn_slow(op: str, call: Call) -> None:
    if not torch.compiler.is_compiling():
        warnings.warn(f"{explain(op, call)}: running the slow reference on {_where(call)}", stacklevel=4)
