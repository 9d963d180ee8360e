"""Contenders for a row: every available backend and its peers; and the correctness gate for all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import bench_train
import engines
import torch
from gpu_graphs import as_graph
from public_awsrn import PublicAWSRN
from rows import NetworkRow, OpRow, Row, TrainingRow
from separate_branches import in_branches
from timing import Contender, Gate, Results, WrongResult
from torch import Tensor, nn

from awsrn_fast import backends, ops
from awsrn_fast.inference import Placed
from awsrn_fast.inference.cuda_graph import Captures
from awsrn_fast.models import SuperResolution, build, create
from awsrn_fast.ops._cases import FLOOR, TRANSFORMED

Field = tuple[list[Contender], Gate]
"""A row's contenders, ours (the automatic choice first) before the peers, and their gate."""

GRAY_LEVEL = 1 / 255
ENGINE_DTYPES = {"OpenVINO": (torch.float32, torch.bfloat16), "ONNX Runtime": (torch.float32,)}


def field_of(row: Row, device: torch.device, compile: bool = False, only: str | None = None) -> Field:
    """Contenders and gate of a row.

    Args:
        row: the computation to measure.
        device: device to run on.
        compile: include torch.compile as a peer; compiling takes up to a minute per row.
        only: build this contender alone.
    """
    make = {OpRow: _op_field, NetworkRow: _network_field, TrainingRow: _training_field}[type(row)]
    builders, gate = make(row, device, compile)
    if device.type == "cuda" and not isinstance(row, TrainingRow):
        builders |= {f"{name}, graph": partial(_as_graph, build, device) for name, build in builders.items()}
    return [build() for name, build in builders.items() if only in (None, name)], gate


def _as_graph(build: Callable[[], Contender], device: torch.device) -> Contender:
    return as_graph(build(), Captures(device))


def _backends_for(op: str, x: Tensor) -> list[str]:
    """Backends with kernels for a call on ``x``, the automatic choice first; the reference is a peer."""
    call = backends.call_of(x)
    able = [n for n in backends.registered(op) if n != "reference" and not backends.reasons_against(op, n, call)]
    chosen = backends.explain(op, x).chosen
    return sorted(able, key=lambda name: name != chosen)


def _op_field(row: OpRow, device: torch.device, compile: bool) -> tuple[dict[str, Callable[[], Contender]], Gate]:
    arguments = row.case.make(row.dtype, str(device))
    nhwc = {k: _channels_last(v) for k, v in arguments.items()}
    reference = ops.ROWS[row.op].reference
    exact_arguments = {k: v.double() if isinstance(v, Tensor) else v for k, v in arguments.items()}
    seeds = _seeds(reference, exact_arguments) if row.backward else None
    work = partial(_results, seeds=seeds)
    # As in a network, gradients of outputs have the outputs' layout.
    nhwc_work = partial(_results, seeds=seeds and [_channels_last(seed) for seed in seeds])
    gate = _rule(work(reference, exact_arguments), work(reference, arguments))

    def ours(name: str) -> Contender:
        context = partial(backends.use_backend, **{row.op: name})
        return Contender(name, lambda: nhwc_work(ops.ROWS[row.op], nhwc), ours=True, context=context)

    builders: dict[str, Callable[[], Contender]] = {}
    for name in _backends_for(row.op, next(iter(arguments.values()))):
        builders[name] = partial(ours, name)
    builders["eager"] = lambda: Contender("eager", lambda: work(reference, arguments))
    if any(isinstance(v, Tensor) and v.dim() == 4 and v.shape[-1] > 1 for v in arguments.values()):
        builders["eager channels_last"] = lambda: Contender("eager channels_last", lambda: nhwc_work(reference, nhwc))
    if row.op == "awms" and not row.backward:
        builders["eager branches"] = lambda: _in_branches(nhwc, work)
    if compile:
        builders["compiled"] = lambda: _compiled(reference, nhwc, nhwc_work)
    if not row.backward and device.type == "cpu":
        first = next(iter(arguments))
        fixed = {k: v for k, v in arguments.items() if k != first}
        for name, engine in engines.available().items():
            if row.dtype in ENGINE_DTYPES[name] and row.op != "gated_residual":  # two outputs
                builders[name] = partial(_engine, name, engine, _Call(reference, first, fixed), arguments[first], row)
    return builders, gate


def _in_branches(arguments: dict[str, Any], work: Callable[..., Results]) -> Contender:
    run = in_branches(arguments["weight"])
    return Contender("eager branches", lambda: work(run, arguments))


class _Call(nn.Module):
    """An op with all arguments but the first fixed, as in a network."""

    def __init__(self, function: Callable[..., Any], first: str, fixed: dict[str, Any]) -> None:
        super().__init__()
        self.function, self.first, self.fixed = function, first, fixed

    def forward(self, x: Tensor) -> Tensor:
        y = self.function(**{self.first: x}, **self.fixed)
        return y[0] if isinstance(y, tuple) else y


def _engine(name: str, engine: Callable, module: nn.Module, x: Tensor, row: OpRow) -> Contender:
    run = engine(_float(module), x.float(), row.dtype)
    x = x.float()
    return Contender(name, lambda: {"output 0": run(x)})


def _float(module: nn.Module) -> nn.Module:
    """The arguments in fp32; engines convert weights to bf16 themselves."""
    if isinstance(module, _Call):
        module.fixed = {k: v.float() if isinstance(v, Tensor) else v for k, v in module.fixed.items()}
    return module


def _compiled(reference: Callable, arguments: dict[str, Any], work: Callable) -> Contender:
    torch._dynamo.reset()
    function = torch.compile(reference)
    return Contender("compiled", lambda: work(function, arguments))


def _results(function: Callable, arguments: dict[str, Any], seeds: list[Tensor] | None) -> Results:
    """Outputs, and with ``seeds`` (gradients of the outputs) the gradient of every tensor argument."""
    if seeds is None:
        with torch.no_grad():
            return {f"output {i}": y for i, y in enumerate(_as_tuple(function(**arguments)))}
    leaves = {k: v.detach().requires_grad_() for k, v in arguments.items() if isinstance(v, Tensor)}
    outputs = _as_tuple(function(**(arguments | leaves)))
    seeds = [seed.to(y) for seed, y in zip(seeds, outputs, strict=True)]
    gradients = torch.autograd.grad(outputs, list(leaves.values()), seeds)
    named = {f"output {i}": y.detach() for i, y in enumerate(outputs)}
    return named | {f"gradient of {k}": g for k, g in zip(leaves, gradients, strict=True)}


def _seeds(reference: Callable, arguments: dict[str, Any]) -> list[Tensor]:
    with torch.no_grad():
        outputs = _as_tuple(reference(**arguments))
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(y.shape, generator=generator).to(y.device) for y in outputs]


def _rule(exact: Results, same_dtype: Results) -> Gate:
    """Tolerance: error against fp64 of at most four times the same-dtype reference's plus a floor.

    The tests allow twice; a row here has many more values, and gradients whose exact value is zero, such as that of
    non_local's b_phi, consist of rounding errors, which vary with the order of summation.
    """

    def gate(name: str, got: Results) -> None:
        for key, value in got.items():
            truth = exact[key]
            error = (value.double() - truth).abs().max().item()
            floor = FLOOR[same_dtype[key].dtype] * max(truth.square().mean().sqrt().item(), 1e-3)
            allowed = 4 * (same_dtype[key].double() - truth).abs().max().item() + floor
            # Transformed (Winograd) convolutions have a separate bound.
            allowed = max(allowed, TRANSFORMED * truth.square().mean().sqrt().item())
            if not error <= allowed:
                raise WrongResult(f"{name}: {key} is off by {error:.3g}, allowed {allowed:.3g}: not timed")

    return gate


def _network_field(row: NetworkRow, device: torch.device, compile: bool):
    torch.manual_seed(0)
    start = _trained_like(create(row.variant, row.scale).eval()).state_dict()
    x = torch.rand(1, 3, row.height, row.width, generator=torch.Generator().manual_seed(0))

    def fused() -> SuperResolution:
        return build(start).eval().fuse()

    with torch.no_grad(), backends.use_backend("reference"):
        exact = fused().double()(x.double())

    def gate(name: str, got: Results) -> None:
        error = got["output"].double().cpu() - exact
        if row.dtype == torch.float32:
            measured, allowed, kind = error.abs().max().item(), 0.01 * GRAY_LEVEL, "at most"
        else:
            measured, allowed, kind = error.square().mean().sqrt().item(), 0.5 * GRAY_LEVEL, "rms"
        if not measured <= allowed:
            levels = measured / GRAY_LEVEL
            raise WrongResult(f"{name}: off by {levels:.3g} gray levels ({kind}), allowed {allowed / GRAY_LEVEL:.3g}")

    # All work on the device and leave their result there: copies are no part of what is compared.
    seen = x.to(device).contiguous(memory_format=torch.channels_last)

    def placed(name: str, ours: bool, compiled: bool = False) -> Contender:
        model = Placed(fused(), device, row.dtype)
        network = model.model
        if compiled:
            torch._dynamo.reset()
            network = torch.compile(network)

        def run() -> Results:
            with model.precision():
                return {"output": network(seen).float()}

        context = partial(backends.use_backend, "auto" if ours else "reference")
        return Contender(name, run, ours, context)

    def eager() -> Contender:
        model = fused().to(device)
        moved = x.to(device)

        def run() -> Results:
            with torch.no_grad(), torch.autocast(device.type, row.dtype, enabled=row.dtype != torch.float32):
                return {"output": model(moved).float()}

        return Contender("eager", run, context=partial(backends.use_backend, "reference"))

    builders = {
        "awsrn_fast": partial(placed, "awsrn_fast", True),
        "eager": eager,
        "eager channels_last": partial(placed, "eager channels_last", False),
    }
    if compile:
        builders["compiled"] = partial(placed, "compiled", False, True)
    public = _public(start, row) if row.variant.startswith("awsrn") else None
    if public is not None:
        builders["public form"] = lambda: Contender("public form", lambda: {"output": public(x)})
    if device.type == "cuda" and engines.has_tensorrt():
        builders["TensorRT, merged"] = partial(
            _network_engine, "TensorRT, merged", engines.tensorrt, fused().to(device), seen.contiguous(), row
        )
    for name, engine in engines.available().items() if device.type == "cpu" else ():
        if row.dtype in ENGINE_DTYPES[name]:
            builders[f"{name}, merged"] = partial(_network_engine, f"{name}, merged", engine, fused(), x, row)
            if public is not None:
                builders[f"{name}, public form"] = partial(
                    _network_engine, f"{name}, public form", engine, public, x, row
                )
    return builders, gate


def _trained_like(model: SuperResolution) -> SuperResolution:
    """Replace weights initialised to zero by small numbers, so that no part of the network is a no-op."""
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.02)
    return model


class _Levels(nn.Module):
    """Adapter of the public network from 0..255 to [0, 1]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x * 255) / 255


def _public(start: dict[str, Tensor], row: NetworkRow) -> nn.Module:
    blocks = {"awsrn-s": 1, "awsrn-m": 3, "awsrn-full": 4}[row.variant]
    model = PublicAWSRN(row.scale, 32, 128, blocks, 4)
    model.load_state_dict(start)
    for module in model.modules():
        if hasattr(module, "weight_g"):
            nn.utils.remove_weight_norm(module)
    return _NoGrad(_Levels(model.eval()))


class _NoGrad(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def _network_engine(name: str, engine: Callable, module: nn.Module, x: Tensor, row: NetworkRow) -> Contender:
    run = engine(module, x, row.dtype)
    return Contender(name, lambda: {"output": run(x)})


def _training_field(row: TrainingRow, device: torch.device, compile: bool):
    make = {"AWSRN-S": bench_train.baseline_forms, "improved-s": bench_train.improved_forms}[row.network]
    forms = {form.name: form for form in make(row.dtype, compile, device)}
    lr, hr = bench_train.patches(row.batch, row.patch, device)
    ours = [name for name in forms if name != bench_train.PEER][::-1]
    first = forms[bench_train.PEER].step(lr, hr).item()

    def gate(name: str, got: Results) -> None:
        # The measured contender has already taken its first step here.
        loss = got["loss"].item()
        if name != bench_train.PEER and abs(loss - first) > forms[name].tolerance * first:
            raise WrongResult(f"{name}: first loss {loss:.6f}, the peer's {first:.6f}: not the same computation")

    def contender(name: str) -> Contender:
        return Contender(name, lambda: {"loss": forms[name].step(lr, hr)}, name != bench_train.PEER)

    return {name: partial(contender, name) for name in (*ours, bench_train.PEER)}, gate


def _channels_last(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dim() == 4 and value.shape[-1] > 1:
        return value.contiguous(memory_format=torch.channels_last)
    return value


def _as_tuple(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)
