"""The benchmark runs, on tiny shapes, so that it cannot rot."""

from __future__ import annotations

import re

import bench_train
import pytest
import torch


def test_it_measures_both_networks(capsys) -> None:
    bench_train.main(["--rounds", "1", "--batch", "1", "--patch", "6", "--device", "cpu"])
    said = capsys.readouterr().out
    for network in ("AWSRN-S", "improved-s"):
        assert network in said
    assert len(re.findall(r"public form .* 1\.00x +\d+ MiB", said)) == 2


def test_a_form_that_computes_something_else_is_not_timed() -> None:
    forms = bench_train.baseline_forms(torch.float32, False, torch.device("cpu"))
    right = forms[1].step
    forms[1].step = lambda lr, hr: right(lr, hr) * 1.01
    with pytest.raises(SystemExit, match="not the same computation"):
        bench_train.measure(forms, 1, torch.device("cpu"), batch=1, patch=6)
