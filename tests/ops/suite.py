"""The one suite that every op's backends pass; a row's test file names the op and nothing else.

Correct means (flash-attention's rule): forward and every gradient against the fp64 reference, error at most twice
the same-dtype reference's error plus a floor of the output's rms.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest
import torch
from torch import Tensor

from awsrn_fast import backends, ops
from awsrn_fast.ops._accuracy import deviations, forward_and_gradients
from awsrn_fast.ops._cases import Case

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LAYOUTS = ("contiguous", "channels_last", "strided", "expanded")


def cases_of(op: str) -> list[Case]:
    return importlib.import_module(f"awsrn_fast.ops.{op}.cases").CASES


def call_of(op: str, arguments: dict[str, Any]) -> backends.Call:
    return importlib.import_module(f"awsrn_fast.ops.{op}").OP.call_of(**arguments)


def as_tuple(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def assert_accurate(
    got: dict[str, Tensor], same_dtype: dict[str, Tensor], exact: dict[str, Tensor], transformed: bool = False
) -> None:
    for deviation in deviations(got, same_dtype, exact, transformed):
        assert deviation.right, str(deviation)


def laid_out(tensor: Tensor, layout: str) -> Tensor:
    """The same values with other strides."""
    if layout == "channels_last" and tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    if layout == "strided" and tensor.dim() >= 2:
        wide = tensor.new_empty(*tensor.shape[:-1], 2 * tensor.shape[-1])
        return wide[..., ::2].copy_(tensor)
    if layout == "expanded" and tensor.dim() == 4 and tensor.shape[0] > 1:
        return tensor[:1].expand_as(tensor)
    return tensor


class OpSuite:
    op: str

    def run(self, backend: str, **arguments):
        with backends.use_backend(**{self.op: backend}):
            return ops.ROWS[self.op](**arguments)

    def arguments(self, case: Case, backend: str, dtype: torch.dtype, device: str) -> dict[str, Any]:
        arguments = case.make(dtype, device)
        why = backends.reasons_against(self.op, backend, call_of(self.op, arguments))
        if why:
            pytest.skip("; ".join(why))
        return arguments

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_forward_and_gradients(self, backend: str, case: Case, dtype: torch.dtype, device: str) -> None:
        arguments = self.arguments(case, backend, dtype, device)
        reference = ops.ROWS[self.op].reference
        exact_arguments = {k: v.cpu().double() if isinstance(v, Tensor) else v for k, v in arguments.items()}
        exact = forward_and_gradients(reference, exact_arguments)
        same_dtype = forward_and_gradients(reference, arguments)
        got = forward_and_gradients(lambda **a: self.run(backend, **a), arguments)
        transformed = bool(backends.registered(self.op)[backend].algorithm)
        assert_accurate(*({k: v.cpu() for k, v in d.items()} for d in (got, same_dtype)), exact, transformed)
        assert all(got[f"output {i}"].dtype == dtype for i in range(len([k for k in got if k.startswith("output")])))

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_layouts(self, backend: str, case: Case, layout: str, device: str) -> None:
        arguments = self.arguments(case, backend, torch.float32, device)
        arguments = {k: laid_out(v, layout) if isinstance(v, Tensor) else v for k, v in arguments.items()}
        plain = {k: v.contiguous() if isinstance(v, Tensor) else v for k, v in arguments.items()}
        got = as_tuple(self.run(backend, **arguments))
        expected = as_tuple(ops.ROWS[self.op].reference(**plain))
        first = next(iter(arguments.values()))
        nhwc = first.dim() == 4 and not first.is_contiguous()
        nhwc = nhwc and first.is_contiguous(memory_format=torch.channels_last)
        for result, truth in zip(got, expected, strict=True):
            torch.testing.assert_close(result, truth, rtol=1e-4, atol=1e-4)
            if result.dim() == 4:
                layout_of_x = torch.channels_last if nhwc else torch.contiguous_format
                assert result.is_contiguous(memory_format=layout_of_x)

    def test_inputs_stay_and_outputs_are_new(self, backend: str, case: Case, device: str) -> None:
        arguments = self.arguments(case, backend, torch.float32, device)
        before = {k: v.clone() for k, v in arguments.items() if isinstance(v, Tensor)}
        outputs = as_tuple(self.run(backend, **arguments))
        for name, value in before.items():
            assert torch.equal(arguments[name], value), f"{name} was changed"
        owned = {v.untyped_storage().data_ptr() for v in arguments.values() if isinstance(v, Tensor) and v.numel()}
        assert all(o.untyped_storage().data_ptr() not in owned for o in outputs if o.numel())

    def test_deterministic(self, backend: str, case: Case, device: str) -> None:
        arguments = self.arguments(case, backend, torch.float32, device)
        first = forward_and_gradients(lambda **a: self.run(backend, **a), arguments)
        second = forward_and_gradients(lambda **a: self.run(backend, **a), arguments)
        assert all(torch.equal(first[k], second[k]) for k in first)

    def test_wrong_arguments_are_named(self, backend: str, device: str) -> None:
        arguments = self.arguments(cases_of(self.op)[0], backend, torch.float32, device)
        for name, value in arguments.items():
            if not isinstance(value, Tensor):
                continue
            wrong: dict[str, Any] = {"a number": 1.0, "a dimension more": value[None]}
            if name != next(iter(arguments)):
                wrong |= {"wrong size": torch.cat([value, value]), "mixed dtype": value.double()}
                wrong |= {"other device": value.to("meta")}
            wrong["integers"] = value.to(torch.int32)
            for what, bad in wrong.items():
                with pytest.raises((TypeError, ValueError), match=rf"{self.op}: .*\b{name}\b") as error:
                    self.run(backend, **(arguments | {name: bad}))
                assert "\n" not in str(error.value), what

    def test_autocast(self, backend: str, device: str) -> None:
        arguments = self.arguments(cases_of(self.op)[0], backend, torch.float32, device)
        leaves = {k: v.requires_grad_() for k, v in arguments.items() if isinstance(v, Tensor)}
        call = call_of(self.op, arguments)
        # Turing has no bfloat16, the CPU kernels have no float16.
        half = (torch.bfloat16, torch.float16)
        dtype = next(d for d in half if not backends.reasons_against(self.op, backend, call._replace(dtype=d)))
        # A gate from means alone stays in fp32.
        expected = dtype if next(iter(arguments.values())).dim() > 2 else torch.float32
        with torch.autocast(device, dtype=dtype):
            outputs = as_tuple(self.run(backend, **arguments))
        assert all(o.dtype == expected for o in outputs)
        gradients = torch.autograd.grad(sum(o.float().sum() for o in outputs), list(leaves.values()))
        assert all(g.dtype == torch.float32 for g in gradients)

    def test_scales_gates_and_biases_stay_fp32_under_autocast(
        self, backend: str, device: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Their gradients are sums over the maps, which fp16 cannot hold at a loss scale of 65,536."""
        arguments = self.arguments(cases_of(self.op)[0], backend, torch.float32, device)
        call, op = call_of(self.op, arguments), importlib.import_module(f"awsrn_fast.ops.{self.op}").OP
        maps = {a.name for a in op.tensors if len(a.dims) > 2}
        halves = (torch.float16, torch.bfloat16)
        half = next(d for d in halves if not backends.reasons_against(self.op, backend, call._replace(dtype=d)))
        seen: dict[str, torch.dtype] = {}
        chosen = backends.choose

        def choose(name: str, x: Tensor, sizes: dict[str, int]) -> Any:
            run = chosen(name, x, sizes)
            return run if name != self.op else lambda *given: (_note(seen, op.arguments, given), run(*given))[1]

        monkeypatch.setattr(backends, "choose", choose)
        reference = ops.ROWS[self.op].reference
        exact = {k: v.cpu().double() if isinstance(v, Tensor) else v for k, v in arguments.items()}
        leaves = {k: v.requires_grad_() for k, v in arguments.items() if isinstance(v, Tensor)}
        truths = {k: v.requires_grad_() for k, v in exact.items() if isinstance(v, Tensor)}
        with torch.autocast(device, dtype=half):
            outputs = as_tuple(self.run(backend, **arguments))
        # The gradient of each value of an output is 1,024, so that sums over the maps pass 65,504.
        sum((o.float() * 1024).sum() for o in outputs).backward()
        sum((o * 1024).sum() for o in as_tuple(reference(**exact))).backward()
        kept = {a.name for a in op.tensors if a.is_small} if maps else {a.name for a in op.tensors}
        # Inside an attention the gradients of the maps themselves pass it.
        small = {a.name for a in op.tensors if a.is_small} - {"b_theta", "b_phi", "b_g"}
        largest = max(truth.grad.abs().max().item() for name, truth in truths.items() if name in small)
        for name, leaf in leaves.items():
            assert seen[name] == (torch.float32 if name in kept else half), name
            if name in small:
                assert leaf.grad.isfinite().all(), name
                off = (leaf.grad.cpu() - truths[name].grad).abs().max().item() / largest
                assert off < 0.02, f"{name}: {off} of {largest}"
        assert not maps or largest > torch.finfo(torch.float16).max

    def test_compiles_to_one_graph(self, backend: str, device: str) -> None:
        arguments = self.arguments(cases_of(self.op)[0], backend, torch.float32, device)
        torch._dynamo.reset()
        # The eager graph of aot_eager: the capture is what can break, and it needs no C++ compile.
        compiled = torch.compile(ops.ROWS[self.op], backend="aot_eager", fullgraph=True)
        with backends.use_backend(**{self.op: backend}):
            got = forward_and_gradients(compiled, arguments)
            expected = forward_and_gradients(ops.ROWS[self.op], arguments)
        for name in expected:
            torch.testing.assert_close(got[name], expected[name], msg=lambda m, name=name: f"{name}: {m}")

    def test_schema(self, kernel: str, case: Case, device: str) -> None:
        arguments = self.arguments(case, kernel, torch.float32, device)
        leaves = {k: v.requires_grad_() if isinstance(v, Tensor) else v for k, v in arguments.items()}
        op = backends.registered(self.op)[kernel].run
        # By position and in the schema's order, which a case need not have.
        given = inspect.signature(ops.ROWS[self.op]).bind(**leaves)
        given.apply_defaults()
        torch.library.opcheck(op, tuple(given.arguments[a.name] for a in op._schema.arguments))

    def test_double_backward_raises(self, kernel: str, device: str) -> None:
        arguments = self.arguments(cases_of(self.op)[0], kernel, torch.float32, device)
        first = next(iter(arguments.values())).requires_grad_()
        outputs = as_tuple(self.run(kernel, **arguments))
        (gradient,) = torch.autograd.grad(outputs[0].square().sum(), first, create_graph=True)
        with pytest.raises(RuntimeError, match="double backward is not supported"):
            gradient.square().sum().backward()


def _note(seen: dict[str, torch.dtype], names: Any, given: tuple[Any, ...]) -> None:
    seen |= {name: value.dtype for name, value in zip(names, given, strict=True) if isinstance(value, Tensor)}
