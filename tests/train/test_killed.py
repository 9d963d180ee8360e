from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from killed_run import POINTS
from runs import SMALL_RUN, assert_same_run, make_photos

from awsrn_fast.errors import RunError
from awsrn_fast.models import create
from awsrn_fast.train.command import main
from awsrn_fast.train.state import Learner

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    photos = make_photos(tmp_path_factory.mktemp("photos"))
    assert main([*SMALL_RUN, "--data", str(photos), "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("point", [point.__name__ for point in POINTS])
def test_a_killed_run_resumes_bit_equal_to_one_never_stopped(point: str, whole: Path, options, tmp_path) -> None:
    killed = subprocess.run([sys.executable, str(HERE / "killed_run.py"), point, *options], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    # Before the first checkpoint there is nothing to go on from: the same command starts again.
    again = options if point == "before_the_first_checkpoint" else ["--out", str(tmp_path / "run"), "--resume"]
    assert main(again) == 0
    assert_same_run(whole, tmp_path / "run")


def test_a_state_that_has_no_room_leaves_the_one_before(options, tmp_path) -> None:
    assert main(options) == 0
    run = tmp_path / "run"
    before = (run / "state.pt").read_bytes()
    learner = Learner(create("awsrn-sd", 2), ema=0.9, scale_gradients=False, betas=(0.9, 0.999))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(RunError, match=r"cannot write .*state\.pt"):
            learner.save(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (run / "state.pt").read_bytes() == before
    assert not list(run.glob("*.part*")) and not list(run.glob(".*.part*"))
