"""Options of ``pytest benchmarks/``, selection of rows, and the final report."""

from __future__ import annotations

from pathlib import Path

import instructions
import pytest

instructions.hold_peers()

import report  # noqa: E402
import torch  # noqa: E402
from machine import Ceilings, facts, training_dtype  # noqa: E402
from rows import NetworkRow, OpRow, TrainingRow, all_rows, tiny  # noqa: E402

from awsrn_fast.devices import pick_device  # noqa: E402
from awsrn_fast.heap import keep_freed_memory  # noqa: E402

KINDS = {"op": OpRow, "network": NetworkRow, "training": TrainingRow}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("awsrn_fast benchmarks")
    group.addoption("--full", action="store_true", help="every row, torch.compile as a peer and memory of every row")
    group.addoption("--tiny", action="store_true", help="every row on a few pixels: shows that the code runs")
    group.addoption("--rounds", type=int, default=0, help="turns of each contender (default: by the row's time)")
    group.addoption("--no-budgets", action="store_true", help="do not hold rows against budgets.toml")
    group.addoption(
        "--store", type=Path, help="write each row's result there, and leave out rows that are there already"
    )
    group.addoption("--report", type=Path, help="write the report of what is in --store into this folder at the end")
    group.addoption("--bench-device", default="auto", help="auto, cpu, cuda, cuda:1, ...")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("report") and not config.getoption("store"):
        raise pytest.UsageError("--report goes with --store, the folder that it is made from")
    config.measured = []
    keep_freed_memory()  # as in the commands; for all contenders alike


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> torch.device:
    return pick_device(pytestconfig.getoption("bench_device"))


@pytest.fixture(scope="session")
def ceilings(device: torch.device) -> Ceilings:
    return Ceilings(device)


@pytest.fixture(scope="session")
def machine(device: torch.device) -> dict:
    return facts(device)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    kind = next((k for k in KINDS if f"{k}_row" in metafunc.fixturenames), None)
    if kind is None:
        return
    option = metafunc.config.getoption
    device = pick_device(option("bench_device"))
    dtypes = (torch.float16, torch.float32) if device.type == "cuda" else (torch.float32, torch.bfloat16)
    every = [row for row in all_rows(dtypes, training_dtype(device)) if isinstance(row, KINDS[kind])]
    rows = [row for row in every if row.quick or option("full")]
    rows = [tiny(row) for row in rows] if option("tiny") else rows
    metafunc.parametrize(f"{kind}_row", rows, ids=lambda row: row.name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    store = config.getoption("store")
    if config.getoption("report") and store.is_dir():
        path = report.main([str(store), "-o", str(config.getoption("report"))])
        terminalreporter.write_line(f"report: {path}")
    if not config.measured:
        return
    terminalreporter.section("ratio to the best peer (above 1: ours is faster)")
    for name, ours, peer, ratio, note in config.measured:
        terminalreporter.write_line(f"{ratio:6.2f}x  {name}: {ours} against {peer}{note}")
