"""One test per row: contenders are checked, timed in turn and compared with budgets.toml."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from contenders import field_of
from flops import of_op
from machine import Ceilings, energy_of, machine_class, state
from report import stored_as
from resident import growth_of
from rows import NetworkRow, OpRow, Row, TrainingRow
from timing import Contender, Turns, calibrated, check, turn

from awsrn_fast.files import write_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BUDGETS = Path(__file__).with_name("budgets.toml")
SECONDS, MOST_ROUNDS, LEAST_ROUNDS = 2.0, 15, 3
"""Approximate seconds for all turns of a row."""


@pytest.fixture
def judge(request, benchmark, device, ceilings, machine):
    return partial(_measure, request=request, benchmark=benchmark, device=device, ceilings=ceilings, machine=machine)


def test_op(op_row: OpRow, judge: Any) -> None:
    judge(op_row)


def test_network(network_row: NetworkRow, judge: Any) -> None:
    judge(network_row)


def test_training(training_row: TrainingRow, judge: Any) -> None:
    judge(training_row)


def _measure(row: Row, request: Any, benchmark: Any, device: torch.device, ceilings: Ceilings, machine: dict) -> None:
    option = request.config.getoption
    stored = stored_as(option("store"), row.name) if option("store") else None
    if stored is not None and stored.exists():
        pytest.skip(f"measured already: {stored}")
    field, gate = field_of(row, device, compile=option("full"))
    ours, peers = ([c for c in field if c.ours == wanted] for wanted in (True, False))
    if not ours:
        pytest.skip("no kernel of ours runs this row here: the reference is the only backend")
    check(field, gate)
    turns = {c.name: calibrated(c, device) for c in field}
    leader, others = ours[0], [*ours[1:], *peers]
    before = state(device)
    rounds = option("rounds") or (1 if option("tiny") else _rounds(field, turns, device))
    for spent in turns.values():
        spent.seconds.clear()
    # pytest-benchmark times the leader; the others run in its set-up, so that all are interleaved.
    benchmark.group = type(row).__name__
    benchmark.pedantic(
        lambda: turn(leader, turns[leader.name], device),
        setup=lambda: [turn(c, turns[c.name], device) for c in others] and None,
        rounds=rounds,
    )
    best, ratio = _against(leader, peers, turns)
    info = {"row": row.name, "leader": leader.name, "best_peer": best.name, "ratio": ratio, "machine": machine}
    info["graph"] = _graphs(ours, peers, turns)
    info["state_before"], info["state"] = before, state(device)
    info["contenders"] = {name: _summary(t) for name, t in turns.items()}
    info["calls_a_round"] = turns[leader.name].calls
    if isinstance(row, OpRow):
        info |= _reached(row, turns[leader.name].median, ceilings)
    info |= energy_of(leader.once, device)
    if option("full") or isinstance(row, NetworkRow) or device.type == "cuda":  # where it takes a call, not a process
        info["peak_bytes"] = {c.name: _peak(row, c, device, option("tiny")) for c in (leader, peers[0])}
    benchmark.extra_info |= info
    if stored is not None:
        stored.parent.mkdir(parents=True, exist_ok=True)
        write_text(stored, json.dumps(info | {"group": benchmark.group}, indent=1))
    note = "".join(f", {info[k]:.0f} % of the {what}" for k, what in PERCENTS.items() if k in info)
    request.config.measured.append((row.name, _ms(leader, turns), f"{best.name} {_ms(best, turns)}", ratio, note))
    if not option("no_budgets") and not option("tiny"):
        _hold(row, ratio, info.get("peak_bytes", {}).get(leader.name), machine_class(device))


PERCENTS = {"percent_of_arithmetic": "measured arithmetic ceiling", "percent_of_bandwidth": "bandwidth"}


def _rounds(field: list[Contender], turns: dict[str, Turns], device: torch.device) -> int:
    once = sum(turn(c, turns[c.name], device) * turns[c.name].calls for c in field)
    return min(MOST_ROUNDS, max(LEAST_ROUNDS, round(SECONDS / once)))


def _against(leader: Contender, peers: list[Contender], turns: dict[str, Turns]) -> tuple[Contender, float]:
    """The fastest peer, launched or a graph as the leader is, and how much longer it takes."""
    best = min((c for c in peers if c.is_graph == leader.is_graph), key=lambda c: turns[c.name].median)
    return best, turns[best.name].median / turns[leader.name].median


def _graphs(ours: list[Contender], peers: list[Contender], turns: dict[str, Turns]) -> dict[str, Any] | None:
    """The same of CUDA graphs; None: there are none."""
    leader = next((c for c in ours if c.is_graph), None)
    if leader is None:
        return None
    best, ratio = _against(leader, peers, turns)
    return {"leader": leader.name, "best_peer": best.name, "ratio": ratio}


def _summary(turns: Turns) -> dict[str, float]:
    low, high = turns.spread
    return {"median_s": turns.median, "fastest_s": low, "slowest_s": high}


def _reached(row: OpRow, seconds: float, ceilings: Ceilings) -> dict[str, float]:
    work = of_op(row)
    gigaflops, gigabytes = work.flops / seconds / 1e9, work.bytes / seconds / 1e9
    return {
        "flops": work.flops,
        "bytes": work.bytes,
        "gigaflops": gigaflops,
        "gigabytes": gigabytes,
        "percent_of_arithmetic": 100 * gigaflops / ceilings.gigaflops(row.dtype),
        "percent_of_bandwidth": 100 * gigabytes / ceilings.gigabytes,
    }


def _peak(row: Row, contender: Contender, device: torch.device, is_tiny: bool) -> int:
    if device.type != "cuda":
        return growth_of(row, contender.name, is_tiny)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    contender.once()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _hold(row: Row, ratio: float, peak: int | None, machine: str) -> None:
    budget = tomllib.loads(BUDGETS.read_text(encoding="utf-8")).get(machine, {}).get(row.name)
    if budget is None:
        return
    if ratio < budget["ratio"]:
        pytest.fail(f"{row.name}: {ratio:.2f}x the best peer, {budget['ratio']}x is the least on {machine}", False)
    if peak is not None and "mib" in budget and peak > budget["mib"] * 2**20:
        pytest.fail(f"{row.name}: peak {peak / 2**20:.1f} MiB, {budget['mib']} is the most on {machine}", False)


def _ms(contender: Contender, turns: dict[str, Turns]) -> str:
    return f"{1e3 * turns[contender.name].median:.3g} ms"
