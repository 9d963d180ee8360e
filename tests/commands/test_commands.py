"""How commands are started, what they say about themselves, and how they refuse a wrong command line."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import awsrn_fast
from awsrn_fast import arguments, commands, limits, threads
from awsrn_fast.config import Config
from awsrn_fast.errors import UserError
from awsrn_fast.train.options import GROUPS

PACKAGE = Path(awsrn_fast.__file__).parent
SCRIPT = "import sys; sys.argv[0] = 'awsrn-fast'; from awsrn_fast.commands import main; main()"


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=os.environ | environment, timeout=300
    )


def test_every_command_is_listed_and_the_other_way_round() -> None:
    assert {path.parent.name for path in PACKAGE.glob("*/__main__.py")} == set(commands.COMMANDS)


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_each_has_help_of_its_own(name: str, capsys: pytest.CaptureFixture) -> None:
    parser = importlib.import_module(f"awsrn_fast.{name}.command").parser()
    assert parser.prog == f"python -m awsrn_fast.{name}"
    parser.print_help()
    said = capsys.readouterr().out
    assert said.strip() and "%(" not in said and "==SUPPRESS==" not in said


@pytest.mark.parametrize("start", [["-m", "awsrn_fast"], ["-c", SCRIPT]])
def test_the_list_and_the_version_need_no_torch(start: list[str]) -> None:
    listed = run("-X", "importtime", *start)
    assert listed.returncode == 0
    assert re.search(r"^  upscale +enlarge", listed.stdout, re.MULTILINE)
    assert "| torch" not in listed.stderr.replace("| torch.", "| torch")
    assert run(*start, "--version").stdout == f"awsrn-fast {awsrn_fast.__version__}\n"


@pytest.mark.parametrize(
    "start, form",
    [
        (["-m", "awsrn_fast.export"], "python -m awsrn_fast.export"),
        (["-m", "awsrn_fast", "export"], "python -m awsrn_fast export"),
        (["-c", SCRIPT, "export"], "awsrn-fast export"),
    ],
)
def test_wrong_usage_is_one_line_in_the_form_that_was_used(start: list[str], form: str) -> None:
    done = run(*start, "improved-s-x4", "-o", "x.onnx", "--nonsense")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == f"error: unrecognized arguments: --nonsense ({form} --help lists the options)\n"


def test_a_name_mistyped() -> None:
    done = run("-m", "awsrn_fast", "upscal")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no command 'upscal': did you mean upscale? the commands are upscale, ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "name", sorted(set(commands.COMMANDS) - {"ablate"})
)  # what that does not know is the trainer's
def test_no_command_prints_its_usage_for_an_unknown_option(name: str, capsys: pytest.CaptureFixture) -> None:
    """Of ablate, options that it does not know are the trainer's."""
    with pytest.raises(UserError, match="--help lists the options"):
        importlib.import_module(f"awsrn_fast.{name}.command").main(["--nonsense"])
    assert capsys.readouterr() == ("", "")


def test_every_field_of_a_run_stands_in_one_group_of_its_help() -> None:
    fields = [name for names in GROUPS.values() for name in names]
    assert sorted(fields) == sorted(Config.__dataclass_fields__)


def test_the_package_gives_what_it_names() -> None:
    for name in awsrn_fast.__all__:
        assert getattr(awsrn_fast, name) is not None and name in dir(awsrn_fast)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        awsrn_fast.nonsense  # noqa: B018


def test_completions_know_commands_and_options() -> None:
    pytest.importorskip("shtab")
    script = commands.completion("bash")
    assert "awsrn-fast" in script and "--memory-limit" in script and "evaluate" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


@pytest.mark.parametrize("text, reason", [("-1", "at least 0"), ("x", "whole number"), ("101", "0 to 100")])
def test_whole_numbers(text: str, reason: str) -> None:
    limits = (0, 100) if "100" in reason else (0,)
    with pytest.raises(Exception, match=reason):
        arguments.whole(*limits)(text)
    assert arguments.whole(0, 100)("100") == 100


@pytest.mark.parametrize("text, reason", [("-1", "at least 0"), ("x", "a number"), ("nan", "least 0"), ("inf", "0")])
def test_real_numbers(text: str, reason: str) -> None:
    with pytest.raises(Exception, match=reason):
        arguments.real(0)(text)
    assert arguments.real(0, 1)("0.5") == 0.5


class TestThreads:
    @pytest.fixture
    def fresh(self, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
        for name in (*threads.WAITING, *threads.COUNTS):
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        monkeypatch.delitem(sys.modules, "torch")
        monkeypatch.setattr(threads, "cpus", lambda: 8)
        return monkeypatch

    def test_they_wait_briefly_unless_the_user_says_otherwise(self, fresh: pytest.MonkeyPatch) -> None:
        threads.prepare()
        assert os.environ["GOMP_SPINCOUNT"] == str(threads.SPINS)
        fresh.delenv("GOMP_SPINCOUNT")
        fresh.setenv("OMP_WAIT_POLICY", "active")
        threads.prepare()
        assert "GOMP_SPINCOUNT" not in os.environ

    @pytest.mark.parametrize("others, count", [(0, None), (3, "5"), (20, "1")])
    def test_a_busy_machine_gets_fewer(self, fresh: pytest.MonkeyPatch, others: int, count: str | None) -> None:
        fresh.setattr(threads, "others_running", lambda: others)
        said = threads.prepare(yielding=True)
        assert os.environ.get("OMP_NUM_THREADS") == count
        assert bool(said) == (count is not None)

    def test_a_number_that_was_given_stands(self, fresh: pytest.MonkeyPatch) -> None:
        fresh.setattr(threads, "others_running", lambda: 8)
        fresh.setenv("OMP_NUM_THREADS", "8")
        assert threads.prepare(yielding=True) == "" and os.environ["OMP_NUM_THREADS"] == "8"

    @pytest.mark.parametrize("load, running, others", [(0.2, 9, 0), (3.1, 1, 0), (3.1, 3, 2), (1.4, 6, 1)])
    def test_what_counts_as_busy(self, fresh, tmp_path: Path, load: float, running: int, others: int) -> None:
        fresh.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
        (tmp_path / "stat").write_text(f"cpu 1 2 3\nprocs_running {running}\nprocs_blocked 0\n")
        assert threads.others_running(tmp_path / "stat") == others
        assert threads.others_running(tmp_path / "none") == 0

    def test_what_is_prepared_reaches_torch(self) -> None:
        code = "from awsrn_fast import threads; threads.others_running = lambda: 1; threads.prepare(True)\n"
        code += "import os, torch; print(os.environ['OMP_NUM_THREADS'], torch.get_num_threads())"
        cores = limits.cpus()
        if cores < 2:
            pytest.skip("one core")
        environment = {k: v for k, v in os.environ.items() if k not in (*threads.WAITING, *threads.COUNTS)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.stdout.split() == [str(cores - 1)] * 2, done.stderr


def test_everything_but_the_gpu_works_without_triton(tmp_path: Path) -> None:
    code = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = staticmethod(
    lambda name, path=None, target=None: None if name.split(".")[0] == "triton" else find(name, path, target)
)
import torch, awsrn_fast
from awsrn_fast.backends import Call
print(awsrn_fast.explain("awms", Call("cuda", (8, 6), torch.float16, (1, 32, 48, 48))))
awsrn_fast.load("improved-s-x2").fuse()(torch.rand(1, 3, 8, 8))
import sys
from awsrn_fast.cli import run
from awsrn_fast.tune.command import main
run(lambda: main(["--dry-run"]))
"""
    done = run("-c", code)
    assert done.returncode == 2 and "triton: Triton is not installed: pip install triton" in done.stdout, done.stderr
    assert "error: tune is for the Triton kernels, and Triton is not installed" in done.stderr
