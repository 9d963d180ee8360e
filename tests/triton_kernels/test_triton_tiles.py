"""Tiles: the kernels' own, measured ones from files, and ``python -m awsrn_fast.tune``, which writes these."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from awsrn_fast.kernels import _gpu, _tiles, _tuned
from triton.runtime.jit import JITFunction

from awsrn_fast import ops
from awsrn_fast.errors import UserError
from awsrn_fast.ops import _triton
from awsrn_fast.tune import command, trials
from awsrn_fast.tune.problems import LAYOUTS, OPS, tasks_of

if _triton.INTERPRETED:
    pytest.skip("TRITON_INTERPRET=1", allow_module_level=True)

GPU = _gpu.Gpu("Some GPU", "sm_80")
FP16 = (torch.float16,)


def a_file(folder: Path, tiles: dict[str, dict[str, int]], **other) -> Path:
    problems = {name: {"tiles": tile, "ms": 1.0, "own_ms": 2.0} for name, tile in tiles.items()}
    content = {"gpu": GPU.name, "arch": GPU.arch, "triton": _tuned.release(), "problems": problems} | other
    path = folder / "some-gpu.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("op", OPS)
def test_what_is_tuned_is_what_the_ops_launch(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_ahead = import_module("compile_ahead")
    monkeypatch.setattr(JITFunction, "run", lambda *args, **named: None)
    monkeypatch.setattr(_gpu, "gpu", lambda x: GPU)
    launched, choose = set(), _tiles.Tiling.__call__

    def note(tiling: _tiles.Tiling, *problem) -> _tiles.Tiles:
        launched.add(_tiles.Problem(tiling.kernel, *problem).name)
        return choose(tiling, *problem)

    monkeypatch.setattr(_tiles.Tiling, "__call__", note)
    for case in import_module(f"awsrn_fast.ops.{op}.cases").BENCHMARKS:
        for layout in LAYOUTS:
            tensors = {name: compile_ahead.empty(shape, *FP16, layout) for name, shape in case.shapes.items()}
            given = inspect.signature(ops.ROWS[op]).bind(**tensors, **case.options)
            given.apply_defaults()
            compile_ahead.LAUNCHED[op](import_module(f"awsrn_fast.kernels.{op}"), *given.args)
    assert {task.problem.name for task in tasks_of(op, FP16, GPU)} == launched


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("arch", ["sm_80", "sm_86", "sm_90", "gfx942"])
def test_candidates(op: str, arch: str) -> None:
    for task in tasks_of(op, _tiles.DTYPES, _gpu.Gpu(arch, arch)):
        own, *others = task.candidates
        assert own == task.tiling.own(task.problem)
        assert 3 <= len(others) <= 30
        assert all(set(tiles) == set(own) and tiles != own for tiles in others)
        for name, values in _tiles.SPACES[task.tiling.kernel].items():
            assert own[name] in values, task.problem.name


def test_candidates_fit_the_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    task = tasks_of("non_local", (torch.float32,), GPU)[0]
    many = task.candidates
    monkeypatch.setitem(_tiles.SHARED, "sm_80", 40)
    few = task.candidates
    assert few[0] == many[0] and 1 < len(few) < len(many)
    assert all(task.tiling.fits(task.problem, tiles, 40 * 1024) for tiles in few[1:])


def test_turing_has_nothing_to_tune_in_kernels_with_products() -> None:
    turing = _gpu.Gpu("RTX 2080 Ti", "sm_75")
    assert not tasks_of("awms", FP16, turing)
    assert tasks_of("gated_residual", FP16, turing)


def test_a_measured_tile_comes_before_the_kernels_own(monkeypatch: pytest.MonkeyPatch) -> None:
    task = tasks_of("awms", FP16, GPU)[0]
    own = task.tiling(*task.problem[1:])
    assert own == task.tiling.own(task.problem)
    monkeypatch.setitem(_tiles.TUNED, GPU.name, {task.problem.name: {"BLOCK_P": 128}})
    assert task.tiling(*task.problem[1:]) == own | {"BLOCK_P": 128}
    other = task.problem._replace(gpu=GPU._replace(name="another"))
    assert task.tiling(*other[1:]) == own
    with _tiles.trying(task.problem, own | {"BLOCK_P": 32}):
        assert task.tiling(*task.problem[1:])["BLOCK_P"] == 32


def test_files_are_read_and_the_users_own_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "awms_fwd fp16 32x48 channels_last"
    for folder, block in (("packaged", 32), ("own", 128)):
        (tmp_path / folder).mkdir()
        a_file(tmp_path / folder, {name: {"BLOCK_P": block}, f"{name} {folder}": {}})
    monkeypatch.setattr(_tuned, "PACKAGED", tmp_path / "packaged")
    monkeypatch.setenv("AWSRN_FAST_TUNED", str(tmp_path / "own"))
    found = _tuned.read_all(_tiles.SPACES)[GPU.name]
    assert found == {name: {"BLOCK_P": 128}, f"{name} packaged": {}, f"{name} own": {}}


BAD = {
    "no JSON": "Expecting value",
    "[]": "indices",
    "{}": "no 'triton'",
    json.dumps({"triton": "1.0"}): "measured with Triton 1.0, this is",
    json.dumps({"triton": _tuned.release(), "gpu": "g"}): "no 'problems'",
    json.dumps({"triton": _tuned.release(), "gpu": 1, "problems": {}}): "gpu is not a name",
    json.dumps({"triton": _tuned.release(), "gpu": "g", "problems": {"sort fp16": {}}}): "'sort fp16' is of no kernel",
    json.dumps({"triton": _tuned.release(), "gpu": "g", "problems": {"awms_fwd": {}}}): "no 'tiles'",
    json.dumps(
        {"triton": _tuned.release(), "gpu": "g", "problems": {"awms_fwd": {"tiles": {"BLOCK_P": 48}}}}
    ): "'awms_fwd' cannot have BLOCK_P = 48",
    json.dumps(
        {"triton": _tuned.release(), "gpu": "g", "problems": {"awms_fwd": {"tiles": {"BLOCK_P": 64.0}}}}
    ): "'awms_fwd' cannot have BLOCK_P = 64.0",
    json.dumps(
        {"triton": _tuned.release(), "gpu": "g", "problems": {"awms_fwd": {"tiles": {"BLOCK_Q": 64}}}}
    ): "'awms_fwd' cannot have BLOCK_Q = 64",
    "[" * 100_000: "recursion",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_a_bad_file_is_left_out_with_one_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_file(tmp_path, {"awms_fwd fp16": {"BLOCK_P": 128}})
    (tmp_path / "bad.json").write_text(text)
    monkeypatch.setenv("AWSRN_FAST_TUNED", str(tmp_path))
    with pytest.warns(UserWarning, match=r"tiles in .*bad\.json are left out: .*measure anew") as said:
        assert set(_tuned.read_all(_tiles.SPACES)) == {GPU.name}
    assert len(said) == 1 and "\n" not in str(said[0].message)
    assert BAD[text] in str(said[0].message)
    with pytest.raises(UserError, match="delete it, or name another file with --out"):
        trials.File(tmp_path / "bad.json", GPU)


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = tasks_of("gated_residual", FP16, GPU)
    path, order = tmp_path / "some-gpu.json", []

    def found(task, *others) -> trials.Found:
        # Whatever was found before is in the file by now, and nothing lies beside it.
        assert [p.name for p in tmp_path.iterdir()] == ([path.name] if order else [])
        if order:
            assert list(_tuned.read(path, _tiles.SPACES)["problems"]) == order
        if len(order) == 3 and task is tasks[3] and not hasattr(found, "stopped"):
            found.stopped = True
            raise KeyboardInterrupt
        order.append(task.problem.name)
        return trials.Found({"VALUES": 1024, "num_warps": 2}, 1.0, 2.0, [])

    monkeypatch.setattr(trials, "measure", found)
    with pytest.raises(KeyboardInterrupt):
        list(trials.tune(tasks, trials.File(path, GPU), torch.device("cpu"), lambda call: 1.0))
    assert order == [task.problem.name for task in tasks[:3]]
    done = list(trials.tune(tasks, trials.File(path, GPU), torch.device("cpu"), lambda call: 1.0))
    assert [task for task, _ in done] == tasks[3:]
    assert order == [task.problem.name for task in tasks]
    monkeypatch.setenv("AWSRN_FAST_TUNED", str(tmp_path))
    assert set(_tuned.read_all(_tiles.SPACES)[GPU.name]) == set(order)


def test_a_file_of_another_gpu_is_refused(tmp_path: Path) -> None:
    path = a_file(tmp_path, {})
    with pytest.raises(UserError, match="is of Some GPU, this is Another: name another file with --out"):
        trials.File(path, _gpu.Gpu("Another", "sm_80"))


def test_dry_run_lists_the_candidates(capsys: pytest.CaptureFixture) -> None:
    assert command.main(["--dry-run", "--op", "awms", "--dtype", "float16", "--arch", "sm_86"]) == 0
    lines = capsys.readouterr().out.splitlines()
    tasks = tasks_of("awms", FP16, _gpu.Gpu("sm_86", "sm_86"))
    listed = sum(len(task.candidates) for task in tasks)
    assert lines[-1] == f"{len(tasks)} problems, {listed} candidates on sm_86"
    assert sum(line.startswith("  BLOCK_") for line in lines) == listed


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="torch sees none here; --dry-run lists the candidates without one") as error:
        command.main([])
    assert error.value.status == 2


def test_wrong_usage_is_named() -> None:
    with pytest.raises(UserError, match=r"no Triton kernel of awms runs on sm_75"):
        command.main(["--dry-run", "--op", "awms", "--arch", "sm_75"])
    with pytest.raises(UserError, match=r"unknown architecture 'turing'"):
        command.main(["--dry-run", "--arch", "turing"])


def test_under_the_interpreter() -> None:
    """What launches kernels: see test_triton_tiles_interpreted.py."""
    tests = Path(__file__).with_name("test_triton_tiles_interpreted.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "skipped" not in done.stdout


@pytest.mark.gpu
def test_tuning_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tuned.json"
    asked = ["--op", "channel_attention", "gated_residual", "--dtype", "float16", "--out", str(path)]
    assert command.main(asked) == 0
    first = path.read_text()
    assert command.main(asked) == 0  # nothing left to do
    assert path.read_text() == first
    gpu = _gpu.gpu(torch.empty(0, device="cuda"))
    names = {task.problem.name for op in ("channel_attention", "gated_residual") for task in tasks_of(op, FP16, gpu)}
    content = _tuned.read(path, _tiles.SPACES)
    assert content["gpu"] == gpu.name and set(content["problems"]) == names
    assert all(0 < entry["ms"] <= entry["own_ms"] for entry in content["problems"].values())
