from __future__ import annotations

import json
from dataclasses import replace

import card_model
import compiled
import network_model
import pytest
import report
import roofline
import torch
from rows import NetworkRow, OpRow, op_rows

from awsrn_fast import backends, ops
from awsrn_fast.errors import UserError
from awsrn_fast.ops.dwpw_attention.cases import BENCHMARKS as GATES
from awsrn_fast.ops.non_local.cases import BENCHMARKS as ATTENTIONS

CARD = card_model.CARDS["RTX 2080 Ti"]
OWN_KERNELS = ("conv_", *(f"{op}_" for op in ops.ROWS))
"""What kernels are called: after their op, or, of those that convolve, after what they share."""


def test_floor_of_the_gate_block_is_its_traffic() -> None:
    row = OpRow("dwpw_attention", GATES[-1], torch.float16, backward=False)
    seconds, bound = card_model.floor(row, CARD)
    # x, residual and y, 64 channels of 256x256 in fp16, at 616 GB/s.
    assert bound == "memory"
    assert seconds == pytest.approx(3 * 64 * 256**2 * 2 / 616e9, rel=0.01)


def test_floor_of_global_attention_is_its_products() -> None:
    case = next(case for case in ATTENTIONS if case.name == "d=32, 96x96")
    row = OpRow("non_local", case, torch.float16, backward=False)
    seconds, bound = card_model.floor(row, CARD)
    positions, d, c = 96**2, 32, 64
    assert bound == "products"
    assert seconds == pytest.approx((4 * d * positions**2 + 8 * d * c * positions) / 53.8e12, rel=1e-6)
    assert card_model.exponentials(row) == positions**2


def test_estimate_knows_how_a_grid_falls_on_a_card() -> None:
    row = OpRow("dwpw_attention", GATES[-1], torch.float16, backward=False)
    least, bound = card_model.floor(row, CARD)
    assert bound == "memory"
    full = compiled.Launch("k", 68 * 4 * 10, 256, 64, 0, 4)
    assert card_model.estimate(row, CARD, [full]) == pytest.approx(least + 2e-6)
    # One block of 64 threads on each of 68 multiprocessors asks for 69,632 bytes; 616 GB/s take 369,600 in 600 ns.
    few = full._replace(blocks=68, threads=64)
    assert card_model.estimate(row, CARD, [few]) == pytest.approx(least * 369_600 / 69_632 + 2e-6)
    # By their threads the larger has 160 of 161 parts of the work.
    both = least * (160 / 161 + 369_600 / 69_632 / 161) + 4e-6
    assert card_model.estimate(row, CARD, [few, full]) == pytest.approx(both)


def test_estimate_of_products_counts_idle_multiprocessors() -> None:
    case = next(case for case in ATTENTIONS if case.name == "d=32, 96x96")
    row = OpRow("non_local", case, torch.float16, backward=False)
    least, _ = card_model.floor(row, CARD)
    for blocks, threads, resident, slower in (
        (68 * 3, 256, 2, 1),
        (69, 256, 2, 2 * 68 / 69),  # two on one multiprocessor, one on the others
        (34, 256, 1, 2),
        (68, 128, 1, 2),  # four warps, two schedulers' worth
    ):
        launch = compiled.Launch("k", blocks, threads, 64, 0, resident)
        assert card_model.estimate(row, CARD, [launch]) == pytest.approx(least * slower + 2e-6), blocks


def test_the_table_of_compiled_kernels() -> None:
    """Every row of an op with CUDA kernels is in it, and what it says is possible on compute capability 7.5."""
    for row in op_rows(compiled.DTYPES):
        launches = compiled.launches_of(row)
        assert bool(launches) == ("cuda" in backends.registered(row.op)), row.name
        for each in launches:
            assert each.kernel.startswith(OWN_KERNELS) and each.blocks > 0
            assert each.resident >= 1 and each.registers * each.threads * each.resident <= 65536
            assert each.threads * each.resident <= card_model.MOST_THREADS
            assert each.shared_bytes * each.resident <= 65536


def test_eager_is_never_below_the_floor(capsys) -> None:
    roofline.main(["--card", "T4"])
    said = capsys.readouterr().out
    assert "model, not measured" in said and "The estimate assumes 600 ns" in said
    lines = [line.split("|")[1:-1] for line in said.splitlines() if " us |" in line]
    assert len(lines) > 30

    def seconds(cell: str) -> float:
        return float(cell.removesuffix(" us "))

    assert all(seconds(line[1]) <= seconds(line[5]) for line in lines)
    estimated = [line for line in lines if line[3].strip() != "-"]
    assert len(estimated) > 25
    assert all(seconds(line[1]) <= seconds(line[3]) and " an SM (" in line[4] for line in estimated)


def test_no_estimate_where_the_compiled_code_is_unknown() -> None:
    ampere = card_model.CARDS["RTX 3090"]
    line = card_model.model(OpRow("dwpw_attention", GATES[0], torch.float16, backward=False), ampere)
    assert line.estimate is None and card_model.cells(line)[3:5] == ("-", "-")
    assert "No estimate" in card_model.described(ampere)


@pytest.mark.parametrize(
    ("device", "card"),
    [
        ("NVIDIA GeForce RTX 2080 Ti", "RTX 2080 Ti"),
        ("NVIDIA GeForce RTX 2080", "RTX 2080"),
        ("NVIDIA GeForce RTX 2080 SUPER", None),
        ("NVIDIA GeForce RTX 2070 with Max-Q Design", None),
        ("Tesla T4", "T4"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H200", None),
        ("AMD EPYC 9654", None),
    ],
)
def test_cards_by_their_drivers_names(device: str, card: str | None) -> None:
    assert card_model.card_of(device) == card


def test_figures_of_another_card_are_refused(tmp_path) -> None:
    row = {"machine": {"device": "Tesla T4"}, "row": "r", "leader": "cuda", "contenders": {"cuda": {"median_s": 1.0}}}
    (tmp_path / "r.json").write_text(json.dumps({"benchmarks": [{"extra_info": row, "group": "OpRow"}]}))
    assert roofline._measured(tmp_path / "r.json", "T4") == {"r": 1.0}
    with pytest.raises(UserError, match="measured on Tesla T4, not on RTX 2080 Ti"):
        roofline._measured(tmp_path / "r.json", "RTX 2080 Ti")


def test_a_report_of_a_known_card_has_the_model_beside_what_was_measured(tmp_path) -> None:
    row = OpRow("dwpw_attention", GATES[-1], torch.float16, backward=False)
    contenders = {name: dict.fromkeys(("median_s", "fastest_s", "slowest_s"), s) for name, s in TIMES.items()}
    info = {"row": row.name, "group": "OpRow", "leader": "cuda", "best_peer": "eager", "ratio": 2.0}
    info |= {"machine": {"device": "NVIDIA GeForce RTX 2080 Ti", "class": "sm_75"}, "contenders": contenders}
    info |= {"flops": 1, "bytes": 1, "gigaflops": 1.0, "gigabytes": 308.0}
    info |= {"percent_of_arithmetic": 1.0, "percent_of_bandwidth": 60.0}
    info |= {"state": {"load": 0.5, "clock_mhz": 1545, "power_w": 250.0, "throttled": ["SwPowerCap"]}}
    (tmp_path / "row.json").write_text(json.dumps(info))
    text = report.main([str(tmp_path), "-o", str(tmp_path / "docs")]).read_text()
    assert "Right before and after the rows: load 0.5, clock 1545 MHz, power 250 W, throttled by SwPowerCap." in text
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {row.name} | 40.9 us | memory |")]
    assert line.endswith("| 82.0 us (50 % of the floor's speed) |")
    assert f"| {row.name} | times eager | 3 | 2.00 |" in text
    assert f"| {row.name} | of the bandwidth | 0.75 | 0.50 |" in text


TIMES = {"cuda": 82e-6, "eager": 164e-6}


def test_a_network_is_the_sum_of_its_calls() -> None:
    row = NetworkRow("improved-s", 4, 64, 64, torch.float16)
    found = network_model.model_of(row, CARD)
    calls = {"dwpw_attention": 1, "channel_attention": 6, "wide_residual": 4, "gated_pair": 2, "conv3x3": 3}
    calls |= {"gated_residual": 2, "non_local": 1, "awms": 1}
    assert {op: part.calls for op, part in found.parts.items()} == calls
    assert all(part.floor <= part.estimate for part in found.parts.values())
    assert found.between < found.floor < found.estimate < found.eager
    assert found.floor == pytest.approx(found.between + sum(part.floor for part in found.parts.values()))
    larger = network_model.model_of(replace(row, height=128, width=128), CARD)
    assert larger.floor > 3.5 * found.floor
    assert network_model.model_of(row, card_model.CARDS["RTX 3090"]).estimate is None


def test_eager_attention_writes_no_scores() -> None:
    query, key = (torch.empty(1, 1, length, 16, dtype=torch.float16, device="meta") for length in (64, 4096))
    with card_model.EagerCost(CARD) as cost, network_model._flash_attention(cost):
        out = torch.nn.functional.scaled_dot_product_attention(query, key, key, scale=1.0)
    assert out.shape == query.shape
    flops = 4 * 64 * 16 * 4096
    assert cost.seconds == pytest.approx(2e-6 + max(flops / 53.8e12, (2 * query.nbytes + 2 * key.nbytes) / 616e9))
