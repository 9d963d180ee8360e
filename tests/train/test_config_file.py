from __future__ import annotations

from pathlib import Path

import pytest

from awsrn_fast.errors import UserError
from awsrn_fast.train.command import read_config


def read(folder: Path, content: str | bytes, *more: str):
    path = folder / "run.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_config(["--config", str(path), *more])


def test_values_as_people_write_them(tmp_path: Path) -> None:
    text = "\ufeffdata: DIV2K\nkernels: 3\nlr: 1e-4\nlog-every: 7\nvalid:\nsgdr: off\nout: grün\n"
    config = read(tmp_path, text, "--log-every", "9")
    assert [Path(folder).name for folder in config.data] == ["DIV2K"]
    assert (config.kernels, config.lr, config.log_every, config.valid) == ((3,), 1e-4, 9, ())
    assert config.sgdr is False and config.out == "grün"
    assert read(tmp_path, "").scale == 4
    assert read_config([f"--config={tmp_path / 'run.yaml'}", "--scale", "2"]).scale == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"scale: 2\nout: gr\xfcn\n", "cannot read .*run.yaml: line 2 is not UTF-8 text"),
        ("- scale\n- 4\n", "run.yaml holds no options"),
        ("scale\n", "run.yaml holds no options"),
        ("scale: [2\n", "cannot read .*run.yaml: while parsing"),
        ("scale:\n", "run.yaml: scale has no value"),
        ("log_every: 3\nlog-every: 4\n", "run.yaml: log-every is given twice"),
        ("scale: four\n", "scale"),
        ("scale: [2, 3]\n", "scale"),
        ("data: {a: b}\n", "data"),
        ("kernels: [3, x]\n", "kernels"),
        ("out: 2024-01-01\nsale: 4\n", "'sale' is not accepted"),
        ("scale: \x00\n", "cannot read .*run.yaml"),
    ],
)
def test_a_mistake_names_the_file_or_the_key_in_one_line(tmp_path: Path, content, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value) and "object" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read .*nowhere.yaml: No such file"):
        read_config(["--config", str(tmp_path / "nowhere.yaml")])
    with pytest.raises(UserError, match="--config has no file"):
        read_config(["--config"])
