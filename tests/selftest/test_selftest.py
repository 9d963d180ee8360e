"""``python -m awsrn_fast.selftest``: it passes here, says what it left out, and can fail."""

from __future__ import annotations

import json

import pytest
import torch

from awsrn_fast import native, ops
from awsrn_fast.errors import UserError
from awsrn_fast.selftest.command import main
from awsrn_fast.selftest.kernels import broken, places
from awsrn_fast.selftest.networks import check_networks
from awsrn_fast.selftest.outcome import Outcome

OP = "gated_residual"


@pytest.fixture(autouse=True)
def _library() -> None:
    if native.cpu is None:
        pytest.skip(native.cpu_reason)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, object]]]:
    status = main(["--json", "--device", "cpu", "--op", OP, *arguments])
    facts = json.loads(capsys.readouterr().out)
    assert facts["machine"]["versions"]["torch"] == torch.__version__
    return status, {check["name"]: check for check in facts["checks"]}


def test_every_instruction_set_dtype_and_direction_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    status, checks = run(capsys)
    assert status == 0
    for isa in native.cpu.available_isas():
        for dtype in ("float32", "bfloat16"):
            for direction in ("forward", "backward"):
                check = checks[f"{OP}/cpu/cpu-{isa}/{dtype}/{direction}"]
                assert check["status"] == "ok", check
                assert 0 < check["worst"] <= 1
    left = checks[f"{OP}/cpu/cpu-{isa}/float16/forward"]
    assert left["status"] == "not run"
    assert "float16 (float32 and bfloat16 only)" in left["detail"]
    assert checks["cuda"]["status"] == "not run"


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_planted_fault_is_found(direction: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"{OP}/cpu/cpu-portable/float32/{direction}"
    status, checks = run(capsys, "--plant", name)
    assert status == 1
    assert [key for key, check in checks.items() if check["status"] == "FAILED"] == [name]
    assert ": error " in checks[name]["detail"]


def test_a_fault_that_cannot_be_planted_is_an_error() -> None:
    with pytest.raises(UserError, match="--plant awms: no check of this name was run"):
        main(["--device", "cpu", "--op", OP, "--plant", "awms"])


def test_a_kernel_that_raises_is_a_failure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**arguments: object) -> None:
        raise RuntimeError("gated_residual: CUDA launch failed: out of resources")

    monkeypatch.setattr(ops, "ROWS", {**ops.ROWS, OP: _like(ops.ROWS[OP], refuse)})
    status, checks = run(capsys)
    assert status == 1
    assert "launch failed" in checks[f"{OP}/cpu/cpu-portable/float32/forward"]["detail"]


def _like(op, function):
    function.reference = op.reference
    return function


def test_unknown_device_is_named() -> None:
    with pytest.raises(UserError, match="--device cuda:9: this machine has cpu"):
        main(["--device", "cuda:9"])


def test_broken_changes_one_value() -> None:
    results = {"output 0": torch.zeros(0), "output 1": torch.ones(3)}
    wrong = broken(results)
    assert (wrong["output 1"] != results["output 1"]).sum() == 1


@pytest.mark.parametrize("planted", [False, True])
def test_networks(planted: bool) -> None:
    where = places(["cpu"])[-1:]
    name = f"improved-s-x4/{where[0]}/float32"
    outcomes: list[Outcome] = []
    check_networks(where, name if planted else "", outcomes.append)
    failed = [outcome.name for outcome in outcomes if outcome.status == "FAILED"]
    assert failed == ([name] if planted else [])
    assert {outcome.name for outcome in outcomes if outcome.status == "not run"} == {
        f"{network}/{where[0]}/float16" for network in ("improved-s-x4", "awsrn-s-x4")
    }
