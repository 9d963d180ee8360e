from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from awsrn_fast.errors import RunError, UserError
from awsrn_fast.train import lock as lock_module
from awsrn_fast.train.command import main
from awsrn_fast.train.lock import LOCK, OWNER, RunLock

HOLDER = """
import sys, time
from pathlib import Path
from awsrn_fast.train.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(lock_module, "BEAT", 0.05)
    monkeypatch.setattr(lock_module, "WATCH", 0.4)


def test_a_second_run_in_the_folder_is_refused_while_the_first_lives(holder, options, tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path)  # by another name for the folder, too
    for arguments in (options, [*options, "--out", str(tmp_path)]):
        with pytest.raises(UserError, match=f"process {holder.pid} on .* has a run in .*choose another --out"):
            main(arguments)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / OWNER).exists()
    with RunLock(tmp_path):
        pass
    assert not (tmp_path / OWNER).exists() and not (tmp_path / LOCK).exists()


def test_one_process_takes_a_folder_once(tmp_path: Path) -> None:
    with RunLock(tmp_path), pytest.raises(UserError, match="has a run in"), RunLock(tmp_path):
        pass
    with RunLock(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()  # nothing was written


def another_machine(folder: Path, ended: threading.Event) -> None:
    """A holder whose lock the kernel here knows nothing of."""
    beats = 0
    while not ended.is_set():
        content = {"host": "elsewhere", "process": 7, "token": "x", "beats": beats}
        (folder / OWNER).write_text(json.dumps(content))
        beats += 1
        time.sleep(0.05)


@pytest.mark.parametrize("locks", [True, False])
def test_a_run_on_another_machine_is_seen_by_its_count(tmp_path: Path, monkeypatch, locks: bool) -> None:
    if not locks:

        def none(*arguments):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(lock_module.fcntl, "lockf", none)
    ended = threading.Event()
    other = threading.Thread(target=another_machine, args=(tmp_path, ended))
    other.start()
    time.sleep(0.1)
    with pytest.raises(UserError, match="process 7 on elsewhere has a run in"), RunLock(tmp_path):
        pass
    ended.set()
    other.join()
    with RunLock(tmp_path):  # its count stands still: it was killed
        assert json.loads((tmp_path / OWNER).read_text())["host"] != "elsewhere"


def test_a_run_whose_folder_was_taken_writes_nothing_more(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match="process 7 on elsewhere has taken .*writes nothing more"),
        RunLock(tmp_path) as lock,
    ):
        (tmp_path / OWNER).write_text(json.dumps({"host": "elsewhere", "process": 7, "token": "x"}))
        time.sleep(0.3)
        lock.check()
    assert json.loads((tmp_path / OWNER).read_text())["host"] == "elsewhere"
