from __future__ import annotations

import json

import pytest
import roofline
import torch
from rows import OpRow

from awsrn_fast.errors import UserError
from awsrn_fast.ops.dwpw_attention.cases import BENCHMARKS as GATES
from awsrn_fast.ops.non_local.cases import BENCHMARKS as ATTENTIONS

CARD = roofline.CARDS["RTX 2080 Ti"]


def test_floor_of_the_gate_block_is_its_traffic() -> None:
    row = OpRow("dwpw_attention", GATES[-1], torch.float16, backward=False)
    seconds, bound = roofline.floor(row, CARD)
    # x, residual and y, 64 channels of 256x256 in fp16, at 616 GB/s.
    assert bound == "memory"
    assert seconds == pytest.approx(3 * 64 * 256**2 * 2 / 616e9, rel=0.01)


def test_floor_of_global_attention_is_its_products() -> None:
    case = next(case for case in ATTENTIONS if case.name == "d=32, 96x96")
    row = OpRow("non_local", case, torch.float16, backward=False)
    seconds, bound = roofline.floor(row, CARD)
    positions, d, c = 96**2, 32, 64
    assert bound == "products"
    assert seconds == pytest.approx((4 * d * positions**2 + 8 * d * c * positions) / 53.8e12, rel=1e-6)
    assert roofline.exponentials(row) == positions**2


def test_eager_is_never_below_the_floor(capsys) -> None:
    roofline.main(["--card", "T4"])
    said = capsys.readouterr().out
    assert "model, not measured" in said
    ratios = [float(line.split("|")[5]) for line in said.splitlines() if " us |" in line]
    assert len(ratios) > 30
    assert min(ratios) >= 1


def test_figures_of_another_card_are_refused(tmp_path) -> None:
    row = {"machine": {"device": "Tesla T4"}, "row": "r", "leader": "cuda", "contenders": {"cuda": {"median_s": 1.0}}}
    (tmp_path / "r.json").write_text(json.dumps({"benchmarks": [{"extra_info": row, "group": "OpRow"}]}))
    assert roofline._measured(tmp_path / "r.json", "T4") == {"r": 1.0}
    with pytest.raises(UserError, match="measured on Tesla T4, not on RTX 2080 Ti"):
        roofline._measured(tmp_path / "r.json", "RTX 2080 Ti")
