"""The harness itself: it computes what the hardware is documented to compute, and finds planted faults."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import compiled
import host_build
import pytest
import torch
from harness import cuda_on_cpu
from rows import OpRow, tiny
from suite import assert_accurate, cases_of, forward_and_gradients, laid_out

from awsrn_fast import backends, native, ops
from awsrn_fast.ops.gated_residual.cases import BENCHMARKS as GATED

FOLDER = Path(__file__).resolve().parent / "probe"


def load(variant: str) -> ModuleType:
    try:
        return host_build.load(variant, "_probe", (FOLDER / "probe.cu",), FOLDER / "probe.cpp")
    except FileNotFoundError as missing:
        pytest.skip(f"no {missing}")


@pytest.fixture(params=["plain", "race"])
def probe(request: pytest.FixtureRequest) -> ModuleType:
    return load(request.param)


def row_sums(probe: ModuleType, fault: str = "none", rows: int = 3, order: int = 0, **launch: int) -> torch.Tensor:
    x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(0))
    y = torch.full((rows,), torch.nan)
    probe.set_thread_order(order)
    try:
        probe.row_sums(x.data_ptr(), y.data_ptr(), rows, getattr(probe.Fault, fault), **launch)
    finally:
        probe.set_thread_order(0)
    torch.testing.assert_close(y, x.sum(1))
    return y


class TestArithmetic:
    @pytest.mark.parametrize("order", [0, 1, 2])
    def test_barriers_shared_memory_and_shuffles(self, probe: ModuleType, order: int) -> None:
        row_sums(probe, order=order)

    @pytest.mark.parametrize("b_transposed", [False, True])
    @pytest.mark.parametrize(
        ("depth", "dtype"), [(8, torch.float16), (24, torch.float16), (32, torch.float16), (16, torch.bfloat16)]
    )
    def test_products(self, probe: ModuleType, depth: int, dtype: torch.dtype, b_transposed: bool) -> None:
        generator = torch.Generator().manual_seed(depth)
        a, b = (torch.randn(shape, generator=generator).to(dtype) for shape in ((16, depth), (depth, 8)))
        given = b.t().contiguous() if b_transposed else b
        d = torch.full((16, 8), torch.nan)
        probe.product(a.data_ptr(), given.data_ptr(), d.data_ptr(), depth, b_transposed, dtype == torch.bfloat16)
        torch.testing.assert_close(d.double(), a.double() @ b.double(), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("width", [8, 32])
    def test_shuffles(self, probe: ModuleType, width: int) -> None:
        x = torch.arange(32, dtype=torch.int32)
        y = torch.full((4, 32), -1, dtype=torch.int32)
        probe.shuffles(x.data_ptr(), y.data_ptr(), width)
        within = x % width
        assert torch.equal(y[0], torch.where(within + 3 < width, x + 3, x))
        assert torch.equal(y[1], torch.where(within >= 3, x - 3, x))
        assert torch.equal(y[2], x ^ 5)
        assert torch.equal(y[3], x - within + 7)

    def test_rounding_is_torchs(self) -> None:
        probe = load("plain")
        every = torch.arange(2**16, dtype=torch.int32)
        halves = every.to(torch.uint16).view(torch.float16).float()
        wide = torch.randn(20000, generator=torch.Generator().manual_seed(0)) * torch.logspace(-9, 6, 20000)
        ties = (halves + torch.nextafter(halves, torch.tensor(torch.inf))) / 2
        x = torch.cat([halves, wide, ties, torch.tensor([65519.9, 65520.0, torch.inf, -torch.inf])])
        x = x[~x.isnan()].contiguous()
        half, bfloat16 = x.half().clone(), x.bfloat16().clone()
        got_half, got_bfloat16 = torch.empty_like(half), torch.empty_like(bfloat16)
        from_half, from_bfloat16 = torch.empty_like(x), torch.empty_like(x)
        tensors = (x, got_half, got_bfloat16, from_half, from_bfloat16)
        probe.rounding(*(t.data_ptr() for t in tensors), len(x))
        assert torch.equal(got_half.view(torch.int16), half.view(torch.int16))
        assert torch.equal(got_bfloat16.view(torch.int16), bfloat16.view(torch.int16))
        assert torch.equal(from_half, half.float())
        assert torch.equal(from_bfloat16, bfloat16.float())


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            (
                "lane_not_in_mask",
                "(thread (31|63) is not in its own mask|a shuffle reads a lane that its mask does not name)",
            ),
            ("lane_outside_mask", "a shuffle reads a lane that its mask does not name"),
            ("exited_lane", "the mask of a warp operation names a lane that has exited"),
            ("two_barriers", "threads of one block wait in different __syncthreads"),
            ("two_barriers_on_a_line", "threads of one block wait in different __syncthreads"),
            ("deadlock", r"deadlock, no thread can go on: .*in __syncwarp at probe\.cu:\d+ with mask ffffffff"),
        ],
    )
    def test_broken_rules_are_found(self, probe: ModuleType, fault: str, message: str) -> None:
        with pytest.raises(RuntimeError, match=f"row_sums: {message}"):
            row_sums(probe, fault)
        row_sums(probe)  # and the harness goes on

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            ("missing_barrier", r"race in shared memory: .*write by thread \d+ of block 0 at probe\.cu:\d+"),
            ("missing_syncwarp", r"race in shared memory: .*read by thread \d+ of block 0 at probe\.cu:\d+"),
            ("beyond_shared", r"thread \d+ of block 0 reaches beyond the end of shared memory at probe\.cu:\d+"),
            ("blocks_meet", r"race in global memory: write by thread 0 of block 0 .*, write by thread 0 of block 1"),
        ],
    )
    @pytest.mark.parametrize("order", [0, 3])
    def test_races_are_found(self, fault: str, message: str, order: int) -> None:
        with pytest.raises(RuntimeError, match=f"row_sums: {message}"):
            row_sums(load("race"), fault, order=order)

    @pytest.mark.parametrize(
        ("fault", "variant", "message"),
        [
            ("early_matrix", "race", "race in shared memory"),
            ("unaligned_matrix", "plain", "ldmatrix: a row's address is no multiple of 16"),
        ],
    )
    def test_faulty_matrix_loads_are_found(self, fault: str, variant: str, message: str) -> None:
        probe, zeros = load(variant), torch.zeros(16, 16, dtype=torch.float16)
        d = torch.zeros(16, 8)
        with pytest.raises(RuntimeError, match=f"product: {message}"):
            probe.product(zeros.data_ptr(), zeros.data_ptr(), d.data_ptr(), 8, True, False, getattr(probe.Fault, fault))

    def test_an_unwritten_output_is_seen(self, probe: ModuleType) -> None:
        with pytest.raises(AssertionError, match="nan"):
            row_sums(probe, "below_one")

    @pytest.mark.parametrize(
        ("launch", "message"),
        [
            ({"threads": 1025}, "a block of 1025 threads"),
            ({"shared_bytes": 65537}, "65537 bytes of shared memory"),
            ({"shared_bytes": 128}, "wrote beyond the end of shared memory|reaches beyond the end of shared memory"),
        ],
    )
    def test_limits_are_held(self, probe: ModuleType, launch: dict[str, int], message: str) -> None:
        with pytest.raises(RuntimeError, match=f"row_sums: .*({message})"):
            row_sums(probe, **launch)


class Altered:
    """The harness's module with one launcher called with other arguments: sizes first, then addresses."""

    def __init__(self, module: ModuleType, launcher: str, alter) -> None:
        self._module, self._launcher, self._alter = module, launcher, alter

    def __getattr__(self, name: str):
        function = getattr(self._module, name)
        if name != self._launcher:
            return function
        return lambda arguments, *rest: function(tuple(self._alter(list(arguments))), *rest)


class TestFaultsInALauncher:
    """The suite's rule finds what is wrong on the way from tensors to kernels and back."""

    def check(self, launcher: str, alter) -> None:
        op, case = "gated_residual", cases_of("gated_residual")[0]
        arguments = case.make(torch.float32)
        exact = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
        reference = ops.ROWS[op].reference
        with (
            cuda_on_cpu(op, 75) as module,
            pytest.MonkeyPatch.context() as patch,
            backends.use_backend(**{op: "cuda"}),
        ):
            patch.setattr(native, "cuda", Altered(module, launcher, alter))
            got = forward_and_gradients(ops.ROWS[op], arguments)
        truth = forward_and_gradients(reference, exact)
        assert_accurate(got, forward_and_gradients(reference, arguments), truth)

    def test_nothing_altered(self) -> None:
        self.check("gated_residual_bwd", lambda a: a)

    def test_two_gradients_swapped(self) -> None:
        def swap(a: list) -> list:
            a[8], a[9] = a[9], a[8]
            return a

        with pytest.raises(AssertionError, match="gradient of x: error"):
            self.check("gated_residual_bwd", swap)

    def test_an_unwritten_gradient(self) -> None:
        with pytest.raises(AssertionError, match="gradient of gate: error nan"):
            self.check("gated_residual_bwd", lambda a: [*a[:10], 0, *a[11:]])

    def test_an_off_by_one_in_the_size(self) -> None:
        def smaller(a: list) -> list:
            n, c, positions, channels_last = a[0]
            return [(n, c, positions - 1, channels_last), *a[1:]]

        with pytest.raises(AssertionError, match="output 0: error"):
            self.check("gated_residual_fwd", smaller)


def test_launches_can_be_recorded_and_not_run() -> None:
    """For the grids of maps that would take the harness hours."""
    row = tiny(OpRow("gated_residual", GATED[0], torch.float32, backward=True))
    recorded = compiled.recorded(row)
    assert len(recorded) == 3  # forward, backward and its sums
    with cuda_on_cpu(row.op, 75) as module, backends.use_backend(**{row.op: "cuda"}):
        module.take_launches()
        arguments = {name: laid_out(value, "channels_last") for name, value in row.case.make(row.dtype).items()}
        forward_and_gradients(ops.ROWS[row.op], arguments)
        assert [launch[1:5] for launch in sorted(module.take_launches())] == recorded
