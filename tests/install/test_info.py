"""``python -m awsrn_fast.info``: the report's shape, and that it never needs a GPU or the repository root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pynvml
import pytest

from awsrn_fast import environment, native, ops
from awsrn_fast.info.command import main
from awsrn_fast.models import SCALES, VARIANTS

ROOT = Path(__file__).resolve().parents[2]


def test_json_has_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts) == {"versions", "native", "cpu", "gpus", "ops"}
    assert {"awsrn_fast", "python", "torch", "triton", "numpy"} <= set(facts["versions"])
    for library in facts["native"].values():
        assert set(library) == {"loaded", "reason", "file", "build"}
        assert library["loaded"] == (library["reason"] is None)
    assert facts["cpu"]["isa"] == native.isa
    assert set(facts["gpus"]) == {"devices", "driver", "reason"}
    assert set(facts["ops"]) == set(ops.ROWS)


def test_every_op_names_a_backend_and_reasons_against_the_others() -> None:
    for name, choices in environment.report()["ops"].items():
        assert choices[0]["device"] == "cpu"
        for choice in choices:
            assert choice["backend"], name
            assert len(choice["against"]) == 3 and all(choice["against"].values()), name


def test_text_gives_the_reason_of_a_missing_library(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "cpu", None)
    monkeypatch.setattr(native, "isa", None)
    monkeypatch.setattr(native, "cpu_reason", "not built: no C++ compiler found [CXX]")
    assert main([]) == 0
    text = capsys.readouterr().out
    assert "cpu: not built: no C++ compiler found [CXX]" in text
    assert "gated_residual on cpu (float32): reference" in text
    assert "not cpu: not built: no C++ compiler found [CXX]" in text


def test_no_driver_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    gpus = environment.report()["gpus"]
    assert gpus["devices"] == []
    assert gpus["reason"].startswith("no NVIDIA driver: ")


def test_models_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["variant"], row["scale"]) for row in rows] == [(v, s) for v in VARIANTS for s in SCALES]
    assert main(["--models"]) == 0
    text = capsys.readouterr().out
    assert "587,742" in text and "33.7 G" in text  # AWSRN-S x4


def test_runs_from_elsewhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "awsrn_fast.info", "--json"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["native"]["cpu"]["loaded"] == (native.cpu is not None)
