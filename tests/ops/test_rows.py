"""An op is a row: the same name everywhere, and the table in docs/ops.md says which cells there are."""

from __future__ import annotations

import inspect
import re
import warnings
from pathlib import Path

import pytest
import torch

import awsrn_fast
from awsrn_fast import backends, native, ops
from awsrn_fast.ops._cases import Case

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("reference", "cpu", "cuda", "triton")
CUDA_SOURCES = {"conv3x3": "conv", "gated_pair": "conv"}
"""Of ops that are one kernel on CUDA."""


@pytest.mark.parametrize("op", ops.ROWS)
def test_every_row_has_its_files(op: str) -> None:
    folder = ROOT / "awsrn_fast" / "ops" / op
    present = {path.stem for path in folder.glob("*.py")}
    assert {"__init__", "reference", "cases"} <= present
    assert (ROOT / "tests" / "ops" / f"test_{op}.py").is_file()
    assert present & {"cpu", "cuda", "triton"} == set(backends.registered(op)) - {"reference"}
    assert (ROOT / "csrc" / "cpu" / f"{op}.cpp").is_file() == ("cpu" in backends.registered(op))
    cuda = ROOT / "csrc" / "cuda" / f"{CUDA_SOURCES.get(op, op)}.cu"
    assert cuda.is_file() == ("cuda" in backends.registered(op))
    assert (ROOT / "kernels" / f"{op}.py").is_file() == ("triton" in backends.registered(op))


@pytest.mark.parametrize("op", ops.ROWS)
def test_reference_takes_what_the_public_function_takes(op: str) -> None:
    function = ops.ROWS[op]
    assert list(inspect.signature(function).parameters) == list(inspect.signature(function.reference).parameters)


def test_no_row_is_left_out() -> None:
    folders = {p.parent.name for p in (ROOT / "awsrn_fast" / "ops").glob("*/reference.py")}
    assert folders == set(ops.ROWS)


def test_the_table_names_every_cell() -> None:
    text = (ROOT / "docs" / "ops.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|(.+)\|$", text, re.MULTILINE))
    assert set(rows) == set(ops.ROWS)
    for op, cells in rows.items():
        claimed = {name for name, cell in zip(COLUMNS, cells.split("|"), strict=True) if cell.strip() != "-"}
        assert claimed == set(backends.registered(op)), op


class TestChoice:
    def test_a_backend_that_cannot_run_says_why(self) -> None:
        mean, w1, w2 = torch.rand(1, 8), torch.rand(4, 8), torch.rand(8, 4)
        with (
            awsrn_fast.use_backend("triton"),
            pytest.raises(backends.BackendError, match="channel_attention: backend 'triton' was asked for and cannot"),
        ):
            ops.channel_attention(mean, w1, None, w2, None)
        ops.channel_attention(mean, w1, None, w2, None)

    @pytest.mark.skipif(native.cpu is None, reason=f"no CPU library: {native.cpu_reason}")
    def test_a_backend_for_all_ops_leaves_out_those_that_it_does_not_implement(self) -> None:
        model = awsrn_fast.load("improved-s-x4").fuse()
        x = torch.rand(1, 3, 9, 8)
        with awsrn_fast.use_backend("cpu"), torch.inference_mode():
            assert awsrn_fast.explain("channel_attention", x).chosen == "reference"
            assert awsrn_fast.explain("awms").chosen == "cpu"
            y = model(x)
        assert torch.equal(y, model(x))
        with awsrn_fast.use_backend(channel_attention="cpu"), pytest.raises(backends.BackendError, match="no cpu"):
            model(x)

    def test_unknown_names_are_errors(self) -> None:
        with pytest.raises(ValueError, match="no backend 'fast'"), awsrn_fast.use_backend("fast"):
            pass
        with pytest.raises(ValueError, match="no op 'blur'"), awsrn_fast.use_backend(blur="cpu"):
            pass
        with pytest.raises(ValueError, match="no op 'blur'"):
            awsrn_fast.explain("blur")

    def test_former_names_are_taken(self) -> None:
        with awsrn_fast.use_backend("native"):
            assert awsrn_fast.explain("awms").chosen == "cpu"
        with awsrn_fast.use_backend(awms="native"):
            assert awsrn_fast.explain("awms").chosen == "cpu"

    def test_order_by_architecture(self) -> None:
        def order(device: str, capability: tuple[int, int] | None) -> tuple[str, ...]:
            return backends.order(backends.Call(device, capability, torch.float16, (1, 32, 8, 8)))

        assert order("cpu", None) == ("cpu", "reference")
        assert order("cuda", (7, 5)) == ("cuda", "triton", "reference")
        assert order("cuda", (8, 6)) == ("cuda", "triton", "reference")
        assert order("xpu", None) == ("triton", "reference")

    def test_explain_gives_a_reason_for_every_backend_that_does_not_run(self) -> None:
        for op in ops.ROWS:
            explanation = awsrn_fast.explain(op)
            assert explanation.chosen in ("cpu", "reference")
            assert set(explanation.against) == set(backends.NAMES) - {explanation.chosen}
            assert all(explanation.against.values())

    @pytest.mark.parametrize(
        ("op", "backend", "sizes", "reason"),
        [
            ("dwpw_attention", "cuda", {"D": 136}, "136 channels out (at most 128)"),
            ("dwpw_attention", "triton", {"D": 72}, "72 channels out (at most 64) in float16"),
            ("non_local", "cuda", {"D": 65}, "65 channels of queries (at most 64)"),
            ("non_local", "triton", {"D": 65}, "65 channels of queries (at most 64)"),
            ("awms", "cuda", {"K": 11}, "a 11x11 kernel (at most 9x9)"),
            ("awms", "cpu", {"K": 11}, "a 11x11 kernel (at most 9x9)"),
        ],
    )
    def test_sizes_beyond_a_kernels_limits_are_said_beforehand(
        self, op: str, backend: str, sizes: dict[str, int], reason: str
    ) -> None:
        call = backends.Call("cuda", (8, 0), torch.float16, (1, 32, 48, 48))
        call = call._replace(device="cpu") if backend == "cpu" else call
        assert reason in awsrn_fast.explain(op, call, **sizes).against[backend]
        assert reason not in awsrn_fast.explain(op, call).against.get(backend, [])
        with pytest.raises(ValueError, match=f"{op} has no size 'Q'; its sizes are "):
            awsrn_fast.explain(op, call, Q=1)

    def test_a_call_beyond_a_kernels_limits_takes_the_next_backend(self) -> None:
        x, weight = torch.randn(1, 2, 3, 4), torch.randn(3, 2, 11, 11)
        expected = ops.awms.reference(x, weight, torch.zeros(3), None, 1)
        assert torch.equal(ops.awms(x, weight, torch.zeros(3), None, 1), expected)
        refused = "awms: backend 'cpu' was asked for and cannot run: .*11x11"
        with awsrn_fast.use_backend("cpu"), pytest.raises(backends.BackendError, match=refused):
            ops.awms(x, weight, torch.zeros(3), None, 1)

    def test_the_reference_on_a_gpu_warns_where_a_kernel_refuses_not_where_there_is_none(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        x, one = torch.randn(1, 2, 3, 4, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        monkeypatch.setitem(
            backends._TABLE, "gated_pair", {"reference": backends.registered("gated_pair")["reference"]}
        )
        with backends.as_if_on("cuda", (8, 0)), warnings.catch_warnings():
            warnings.simplefilter("error")
            ops.gated_pair(x, x, None, x.new_ones(5, 4), x.new_ones(5))
            with pytest.warns(UserWarning, match="gated_residual: reference .*float64.*slow reference on cuda sm_80"):
                ops.gated_residual(x, x, None, one, one)

    def test_cases_are_the_same_numbers_in_every_dtype(self) -> None:
        case = Case("one", {"x": (3, 4), "w": (2, 3), "none": None}, {"scale": 2})
        exact, rounded = case.make(torch.float64), case.make(torch.bfloat16)
        assert torch.equal(exact["x"].bfloat16(), rounded["x"])
        assert rounded["none"] is None and rounded["scale"] == 2
