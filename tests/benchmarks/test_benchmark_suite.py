"""The benchmarks run, on tiny shapes, and refuse what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import contenders
import machine
import pytest
import report
import resident
import test_benchmarks
import torch
from flops import of_op
from rows import NetworkRow, OpRow, all_rows, tiny
from separate_branches import in_branches
from timing import Contender, Turns, WrongResult, timed_in_turn

from awsrn_fast import native, ops
from awsrn_fast.errors import UserError
from awsrn_fast.ops.dwpw_attention.cases import BENCHMARKS

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.bfloat16)
ROOT = Path(__file__).resolve().parents[2]
ALONE = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
"""Where these tests run in several processes, the runs that they start are none of them: those measure nothing."""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The JSON of a run of the quick rows on a few pixels."""
    path = tmp_path_factory.mktemp("run") / "results.json"
    command = [sys.executable, "-m", "pytest", "benchmarks", "--tiny", "-q", "--benchmark-json", str(path)]
    done = subprocess.run([*command, "-p", "no:cacheprovider"], cwd=ROOT, env=ALONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    return path


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "benchmarks",
        "--tiny",
        "-q",
        "-k",
        "gated_residual",
        "--store",
        str(tmp_path / "s"),
        "--report",
        str(tmp_path / "docs"),
    ]
    said = []
    for _ in range(2):
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider", "-rs"], cwd=ROOT, env=ALONE, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-3000:]
        said.append(done.stdout)
    rows, facts = report.read(tmp_path / "s")
    assert [row["group"] for row in rows] == ["OpRow"] and facts["threads"]
    (written,) = (tmp_path / "docs").glob("*.md")
    assert f"report: {written}" in said[1]
    assert "measured already" not in said[0] and "1 skipped" in said[1] and "measured already" in said[1]


def test_every_quick_row_is_measured(run: Path) -> None:
    rows, facts = report.read(run)
    assert {row["group"] for row in rows} >= {"NetworkRow", "TrainingRow"}
    assert facts["torch"] == torch.__version__.split("+")[0] or facts["torch"] == torch.__version__
    for row in rows:
        assert row["ratio"] > 0
        assert {row["leader"], row["best_peer"]} <= set(row["contenders"])
        assert row["best_peer"] != row["leader"]
        assert row["state"]["load"] >= 0


def test_report_of_a_run(run: Path, tmp_path: Path) -> None:
    path = report.main([str(run), "-o", str(tmp_path)])
    text = path.read_text()
    for row in report.read(run)[0]:
        assert f"| {row['row']} |" in text
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".md", ".png", ".png"]


@pytest.mark.parametrize("content", ["", "{}", '{"benchmarks": []}'])
def test_report_of_something_else(tmp_path: Path, content: str) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(UserError, match=r"r\.json does not hold a benchmark run"):
        report.main([str(tmp_path / "r.json")])


def test_a_contender_with_wrong_results_is_not_timed() -> None:
    row = tiny(OpRow("dwpw_attention", BENCHMARKS[0], torch.float32, backward=True))
    field, gate = contenders.field_of(row, CPU)
    timed = []
    right = field[-1].run

    def wrong():
        timed.append(1)
        return {k: v * (1 + 1e-3 * (k == "gradient of w_a")) for k, v in right().items()}

    with pytest.raises(WrongResult, match="impostor: gradient of w_a is off by .*: not timed"):
        timed_in_turn([*field, Contender("impostor", wrong)], gate, 3, CPU)
    assert len(timed) == 1


def test_a_network_that_is_off_by_a_fiftieth_of_a_gray_level_is_refused() -> None:
    row = NetworkRow("improved-s", 2, 5, 6, torch.float32)
    field, gate = contenders.field_of(row, CPU, only="eager")
    result = field[0].once()
    gate("eager", result)
    with pytest.raises(WrongResult, match="gray levels"):
        gate("eager", {"output": result["output"] + 0.02 / 255})


def test_branches_of_awms_are_a_peer_and_add_up() -> None:
    row = next(row for row in all_rows(DTYPES) if isinstance(row, OpRow) and row.op == "awms" and not row.backward)
    row = tiny(row)
    (peer,), gate = contenders.field_of(row, CPU, only="eager branches")
    gate(peer.name, peer.once())
    arguments = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in row.case.make(row.dtype).items()}
    expected = ops.ROWS["awms"].reference(**arguments)
    torch.testing.assert_close(in_branches(arguments["weight"])(**arguments), expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_turns_alternate(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr("timing.REST", 0)
    order = []
    made = [Contender(name, lambda name=name: order.append(name) or {}) for name in "ab"]
    turns = timed_in_turn(made, lambda name, got: None, 3, CPU)
    awake = threads > 1  # a call that is not timed wakes a contender's own threads
    calls = [turns[name].calls + awake for name in "ab"]
    assert order[-calls[0] - calls[1] :] == ["a"] * calls[0] + ["b"] * calls[1]
    assert all(len(t.seconds) == 3 for t in turns.values())


def test_names_of_rows_are_unique_and_tiny_ones_keep_theirs() -> None:
    names = [row.name for row in all_rows(DTYPES)]
    assert len(set(names)) == len(names)
    tinies = [row for row in map(tiny, all_rows(DTYPES)) if isinstance(row, OpRow)]
    assert {row.name for row in tinies} <= set(names)


def test_work_is_counted() -> None:
    row = OpRow("dwpw_attention", BENCHMARKS[0], torch.float32, backward=False)
    n, c, h, w = row.case.shapes["x"]
    work = of_op(row)
    assert work.flops == 2 * n * h * w * (9 * c + 2 * c * c)
    weights = 9 * c + c + 2 * (c * c + c)
    assert work.bytes == 4 * (3 * n * c * h * w + weights)
    both = of_op(OpRow(row.op, row.case, row.dtype, backward=True))
    assert both.flops == 3 * work.flops
    assert both.bytes == 4 * (8 * n * c * h * w + 3 * weights)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resident peaks are read from Linux's /proc")
def test_memory_of_a_contender_in_its_own_process() -> None:
    row = next(r for r in all_rows(DTYPES) if isinstance(r, NetworkRow) and r.quick)
    assert 0 <= resident.growth_of(tiny(row), "eager", is_tiny=True) < 2**28
    with pytest.raises(RuntimeError, match="memory of nobody"):
        resident.growth_of(tiny(row), "nobody", is_tiny=True)


def test_a_row_below_its_budget_fails(monkeypatch, tmp_path: Path) -> None:
    row = NetworkRow("improved-s", 2, 5, 6, torch.float32)
    budgets = tmp_path / "budgets.toml"
    budgets.write_text(f'["cpu-x"."{row.name}"]\nratio = 1.5\nmib = 2\n')
    monkeypatch.setattr(test_benchmarks, "BUDGETS", budgets)
    test_benchmarks._hold(row, 1.6, 2**20, "cpu-x")
    test_benchmarks._hold(row, 0.1, None, "cpu-other")
    with pytest.raises(pytest.fail.Exception, match=r"1\.40x the best peer, 1\.5x is the least on cpu-x"):
        test_benchmarks._hold(row, 1.4, None, "cpu-x")
    with pytest.raises(pytest.fail.Exception, match=r"peak 3\.0 MiB, 2 is the most"):
        test_benchmarks._hold(row, 1.6, 3 * 2**20, "cpu-x")


def test_budgets_name_rows_that_exist() -> None:
    budgets = test_benchmarks.tomllib.loads(test_benchmarks.BUDGETS.read_text())
    names = {row.name for row in all_rows((torch.float32, torch.bfloat16, torch.float16))}
    for key, rows in budgets.items():
        assert set(rows) <= names, key


def test_state_of_a_gpu_is_what_nvml_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(handle: object) -> int:
        raise machine.pynvml.NVMLError_NotSupported

    gpu, millijoules = torch.device("cuda"), iter((1_000, 4_000))
    answers = {
        "nvmlDeviceGetClockInfo": lambda handle, kind: 1545 if kind == machine.pynvml.NVML_CLOCK_SM else 7000,
        "nvmlDeviceGetTemperature": lambda handle, kind: 71,
        "nvmlDeviceGetPowerUsage": unsupported,  # as GeForce cards of older drivers
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda handle: 0x4 | 0x1,  # power cap, idle
        "nvmlDeviceGetTotalEnergyConsumption": lambda handle: next(millijoules),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(machine.pynvml, name, answer)
    monkeypatch.setattr(machine, "_handle", lambda device: object())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    found = machine.state(gpu)
    assert found.pop("load") >= 0
    assert found == {"clock_mhz": 1545, "memory_clock_mhz": 7000, "temperature_c": 71, "throttled": ["SwPowerCap"]}
    calls = []
    energy = machine.energy_of(lambda: calls.append(1), gpu, seconds=0.01)
    assert energy["joules_per_call"] == pytest.approx(3 / len(calls))
    assert energy["watts"] == pytest.approx(3 / 0.01, rel=0.5)
    monkeypatch.setattr(machine.pynvml, "nvmlDeviceGetTotalEnergyConsumption", unsupported)
    assert machine.energy_of(lambda: None, gpu) == {}


def test_on_a_gpu_the_quick_rows_are_those_in_fp16() -> None:
    rows = [row for row in all_rows((torch.float16, torch.float32)) if row.quick]
    assert {row.dtype for row in rows} == {torch.float16}
    assert {each.row for each in report.EXPECTED} <= {row.name for row in rows}


def test_spread() -> None:
    turns = Turns(1, [3.0, 1.0, 2.0])
    assert (turns.median, turns.spread) == (2.0, (1.0, 3.0))


def test_benchmark_json_is_comparable(run: Path) -> None:
    stored = json.loads(run.read_text())
    assert all(b["fullname"].startswith("benchmarks/test_benchmarks.py::") for b in stored["benchmarks"])


@pytest.mark.skipif(native.cpu is None, reason=native.cpu_reason)
def test_peers_are_held_to_the_instruction_set_that_was_asked_for() -> None:
    code = (
        "import sys; sys.path.insert(0, 'benchmarks'); import instructions; instructions.hold_peers()\n"
        "import torch, machine, engines; print(torch.backends.cpu.get_cpu_capability(), "
        "machine.machine_class(torch.device('cpu')), machine.training_dtype(torch.device('cpu')), *engines.available())"
    )
    environment = os.environ | {"AWSRN_FAST_ISA": "portable"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("DEFAULT cpu-portable torch.float32")
    assert ("ONNX Runtime" in done.stdout) == (len(native.cpu.available_isas()) == 1)
