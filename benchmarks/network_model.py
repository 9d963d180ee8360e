"""The model of ``card_model.py`` for whole networks: fused, on a card, as our kernels and as eager PyTorch.

Nothing in it is measured. A network is the sum of its calls of ops and of what stands between them. The estimate of a
call is its floor, divided by the share of the floor's speed that the op's benchmark row nearest in size is estimated to
reach, and a launch for each kernel of that row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from card_model import LAUNCH, Card, EagerCost, estimate, floor
from compiled import launches_of
from rows import NetworkRow, OpRow, op_rows
from torch import Tensor

from awsrn_fast import backends, ops
from awsrn_fast.models import create
from awsrn_fast.ops._cases import Case


class Part(NamedTuple):
    """An op's calls in a network: how many, and their modelled seconds."""

    calls: int
    floor: float
    estimate: float | None


class NetworkModel(NamedTuple):
    """Modelled seconds of a network. ``parts`` are by op; ``between`` is PyTorch's own work."""

    parts: dict[str, Part]
    between: float
    eager: float

    @property
    def floor(self) -> float:
        return self.between + sum(part.floor for part in self.parts.values())

    @property
    def estimate(self) -> float | None:
        """None: unknown for this card."""
        known = [part.estimate for part in self.parts.values() if part.estimate is not None]
        return self.between + sum(known) if len(known) == len(self.parts) else None


def model_of(row: NetworkRow, card: Card) -> NetworkModel:
    """The modelled times of a network row on a card."""
    network = create(row.variant, row.scale).eval().fuse().to("meta", row.dtype)
    calls: list[OpRow] = []
    with torch.no_grad(), backends.as_if_on("cuda", card.capability):
        shape = (1, 3, row.height, row.width)
        x = torch.empty(shape, dtype=row.dtype, device="meta", memory_format=torch.channels_last)
        with backends.use_backend("reference"), EagerCost(card) as eager, _flash_attention(eager):
            network(x)
        with EagerCost(card) as between, _noted(calls, between, row.dtype):
            network(x)
    parts: dict[str, list[Part]] = defaultdict(list)
    for call in calls:
        least, _ = floor(call, card)
        parts[call.op].append(Part(1, least, _estimate(call, least, card)))
    return NetworkModel({op: _sum(found) for op, found in parts.items()}, between.seconds, eager.seconds)


@contextmanager
def _flash_attention(cost: EagerCost) -> Iterator[None]:
    """Context in which eager attention costs its floor and a launch, and writes no scores: PyTorch has such kernels."""
    torch_attention = F.scaled_dot_product_attention

    def attention(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        before = cost.seconds
        result = torch.empty_like(query)
        moved = 2 * query.nbytes + key.nbytes + value.nbytes
        products = cost.card.fp32 if query.dtype == torch.float32 else cost.card.tensor
        flops = 4 * query.numel() * key.shape[-2]
        cost.seconds = before + LAUNCH + max(moved / cost.card.bandwidth / 1e9, flops / products / 1e12)
        return result

    F.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = torch_attention


@contextmanager
def _noted(calls: list[OpRow], cost: EagerCost, dtype: torch.dtype) -> Iterator[None]:
    """Context in which calls of ops are noted, and cost nothing."""
    chosen = backends.choose

    def choose(op: str, x: Tensor, sizes: dict[str, int]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            calls.append(OpRow(op, _case(op, given), dtype, backward=False))
            before = cost.seconds
            result = ops.ROWS[op].reference(*given)
            cost.seconds = before
            return result

        return run

    backends.choose = choose
    try:
        yield
    finally:
        backends.choose = chosen


def _case(op: str, given: tuple[Any, ...]) -> Case:
    names = list(ops.ROWS[op].reference.__code__.co_varnames[: len(given)])
    named = {name: value for name, value in zip(names, given, strict=True) if name != "prepared"}
    shapes = {name: tuple(value.shape) for name, value in named.items() if isinstance(value, Tensor)}
    return Case("in a network", shapes, {k: v for k, v in named.items() if not isinstance(v, Tensor)})


def _estimate(call: OpRow, least: float, card: Card) -> float | None:
    """None: the op has no kernel whose registers are known."""
    rows = [row for row in op_rows((call.dtype,)) if row.op == call.op and not row.backward and launches_of(row)]
    if card.capability != (7, 5) or not rows:
        return None
    nearest = min(rows, key=lambda row: abs(floor(row, card)[0] / least - 1))
    launches = launches_of(nearest)
    launching = LAUNCH * len(launches)
    slower = (estimate(nearest, card, launches) - launching) / floor(nearest, card)[0]
    return least * slower + launching


def _sum(parts: list[Part]) -> Part:
    known = [part.estimate for part in parts if part.estimate is not None]
    return Part(len(parts), sum(part.floor for part in parts), sum(known) if len(known) == len(parts) else None)
