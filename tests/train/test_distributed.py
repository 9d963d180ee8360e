from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from runs import rows
from shared_step import gradients

import awsrn_fast
from awsrn_fast.errors import UserError
from awsrn_fast.train.command import main
from awsrn_fast.train.distributed import World

HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def test_two_processes_have_the_gradients_and_samples_of_one(photos, tmp_path) -> None:
    command = [*TORCHRUN, str(HERE / "shared_step.py"), str(photos), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300)
    assert done.returncode == 0, done.stderr
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
        alone, places = gradients(photos, dtype, World())
        together = torch.load(tmp_path / f"{dtype}.pt", weights_only=True)
        for name, gradient in alone.items():
            error = (together[name] - gradient).norm() / gradient.norm().clamp_min(torch.finfo(dtype).tiny)
            assert error <= tolerance, name
    drawn = [line for rank in (0, 1) for line in (tmp_path / f"places{rank}.txt").read_text().splitlines()]
    assert sorted(drawn) == sorted(map(repr, places))


def test_a_shared_run_is_the_run_of_one_process(options, tmp_path) -> None:
    command = [*TORCHRUN, "-m", "awsrn_fast.train", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("best validation PSNR") == 1, "only the first process speaks"
    assert main([*options, "--out", str(tmp_path / "alone")]) == 0
    shared, alone = (awsrn_fast.load(tmp_path / name / "last.safetensors").state_dict() for name in ("run", "alone"))
    for key in alone:
        torch.testing.assert_close(shared[key], alone[key], rtol=1e-3, atol=1e-5)
    columns = ("iteration", "lr")
    assert [[r[c] for c in columns] for r in rows(tmp_path / "run")] == [
        [r[c] for c in columns] for r in rows(tmp_path / "alone")
    ]


def test_when_a_process_dies_the_others_end_with_the_reason(options, tmp_path) -> None:
    endless = [*options[: options.index("--iterations")], "--iterations", "100000", "--checkpoint-every", "100000"]
    command = [*TORCHRUN, "-m", "awsrn_fast.train", *endless, *options[options.index("--log-every") :]]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True) as run:
        try:
            _wait_for_rows(tmp_path / "run")
            os.kill(_worker(run.pid, rank=1), signal.SIGKILL)
            killed = time.monotonic()
            _, said = run.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):  # all gone, as it should be
                os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode != 0
    assert time.monotonic() - killed < 60
    assert "another process of this run has ended" in said


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    assert World(1, 4).share(8) == 2
    with pytest.raises(UserError, match="a batch of 6 patches cannot be shared by 4 processes"):
        World(1, 4).share(6)


def _wait_for_rows(run: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (run / "metrics.csv").is_file() and len(rows(run)) > 2:
            return
        time.sleep(0.2)
    pytest.fail("the run did not start")


def _worker(agent: int, rank: int) -> int:
    """The process that torchrun started for a rank."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == agent and f"RANK={rank}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                return int(entry.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    pytest.fail(f"no worker {rank} below process {agent}")
