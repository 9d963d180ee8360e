"""A fused network computes with the weights that it has now, whatever has happened to them since it was fused."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from awsrn_fast import backends, native
from awsrn_fast.checkpoint import save_weights
from awsrn_fast.inference import Placed
from awsrn_fast.models import AWSRN, ImprovedAWSRN, SuperResolution, build
from awsrn_fast.nn import AWMS, AWRU, Prepared, WNConv2d
from awsrn_fast.prune.branches import contributions

WEIGHTS = ("head.0.folded", "body.0.b0.body.0.folded", "body.0.b1.body.2.folded", "tail.weight", "skip.0.folded")
IMAGE = torch.rand(1, 3, 9, 11, generator=torch.Generator().manual_seed(0))


def network(seed: int = 0, **options) -> SuperResolution:
    torch.manual_seed(seed)
    return ImprovedAWSRN(2, channels=16, wide=32, blocks=1, units=2, kernels=(1, 3, 5), **options).eval()


def expected(model: nn.Module) -> Tensor:
    """By plain PyTorch, which takes the weights alone."""
    with backends.use_backend("reference"), torch.no_grad():
        return model(IMAGE)


def buffers(model: nn.Module) -> list[Tensor]:
    return [model.get_buffer(name) for name in WEIGHTS]


def times_two(model: SuperResolution) -> None:
    with torch.no_grad():
        for weight in buffers(model):
            weight.mul_(2)


def through_data(model: SuperResolution) -> None:
    for weight in buffers(model):
        weight.data.mul_(2)


def through_numpy(model: SuperResolution) -> None:
    for weight in buffers(model):
        weight.numpy()[...] *= 2


def one_number(model: SuperResolution) -> None:
    for weight in buffers(model):
        weight.data[-1, 0, 1, 1] += 1


def in_inference_mode(model: SuperResolution) -> None:
    with torch.inference_mode():
        times_two(model)


def copied(model: SuperResolution) -> None:
    for mine, other in zip(buffers(model), buffers(network(1).fuse()), strict=True):
        mine.copy_(other)


def through_the_state_dict(model: SuperResolution) -> None:
    for value in model.state_dict().values():
        value.mul_(1.5)


def swapped(model: SuperResolution) -> None:
    for mine, other in zip(buffers(model), buffers(network(1).fuse()), strict=True):
        torch.utils.swap_tensors(mine, other)


def set_anew(model: SuperResolution) -> None:
    for name in WEIGHTS:
        owner, _, own = name.rpartition(".")
        setattr(model.get_submodule(owner), own, 2 * model.get_buffer(name))


def parametrized(model: SuperResolution) -> None:
    class Twice(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    for name in WEIGHTS:
        owner, _, own = name.rpartition(".")
        parametrize.register_parametrization(model.get_submodule(owner), own, Twice())


def rounded(model: SuperResolution) -> None:
    """Casts there and back: seen in the seventh digit alone."""
    model.bfloat16().float()


def trained_weights(model: SuperResolution) -> None:
    model.load_state_dict(network(1).state_dict())


CHANGES: dict[str, Callable[[SuperResolution], object]] = {
    "in place": times_two,
    "data": through_data,
    "numpy": through_numpy,
    "one number": one_number,
    "inference mode": in_inference_mode,
    "copy_": copied,
    "state dict in place": through_the_state_dict,
    "load_state_dict": lambda model: model.load_state_dict(network(1).fuse().state_dict()),
    "load_state_dict, assign": lambda model: model.load_state_dict(network(1).fuse().state_dict(), assign=True),
    "load_state_dict of the training form": trained_weights,
    "swap_tensors": swapped,
    "set": set_anew,
    "parametrization": parametrized,
    "shared memory": lambda model: times_two(model.share_memory()),
    "channels_last": lambda model: times_two(model.to(memory_format=torch.channels_last)),
    "rounded": rounded,
    "fp64 and back": lambda model: times_two(model.double().float()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_the_ones_that_count(change: str) -> None:
    model = network().fuse()
    before = model(IMAGE)
    CHANGES[change](model)
    after = model(IMAGE)
    assert (after - before).abs().max() > 1e-4, "this test needs a change that shows"
    torch.testing.assert_close(after, expected(model), rtol=2e-4, atol=2e-5)


def test_weights_of_the_training_form_give_the_same_as_fusing_them() -> None:
    other = network(1)
    model = network().fuse()
    model.load_state_dict(other.state_dict())
    assert torch.equal(model(IMAGE), other.fuse()(IMAGE))


def test_weights_of_one_call() -> None:
    """torch.func.functional_call puts others in for one call."""
    model, other = network().fuse(), network(1).fuse()
    before = model(IMAGE)
    assert torch.equal(torch.func.functional_call(model, dict(other.state_dict()), (IMAGE,)), other(IMAGE))
    assert torch.equal(model(IMAGE), before)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deep", "pickle"]
)
def test_copies_are_independent_and_carry_no_cache(copied: Callable[[nn.Module], nn.Module]) -> None:
    model = network().fuse()
    before = model(IMAGE)
    other = copied(model)
    assert not any(m.prepared is not None for m in other.modules() if isinstance(m, Prepared))
    times_two(model)
    assert torch.equal(other(IMAGE), before) and not torch.equal(model(IMAGE), before)


def test_saved_whole_it_comes_back() -> None:
    model = network().fuse(clamp=True)
    before, file = model(IMAGE), io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert again.is_fused and again.clamp and torch.equal(again(IMAGE), before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_other_dtypes(dtype: torch.dtype) -> None:
    model = network().fuse()
    exact = model(IMAGE)
    y = model.to(dtype)(IMAGE.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), exact, rtol=0, atol=1e-5 if dtype == torch.float64 else 0.05)


@pytest.mark.skipif(native.cpu is None, reason="no native kernels, so nothing is prepared")
def test_unchanged_weights_are_prepared_once() -> None:
    model = network().fuse()
    model(IMAGE)
    kept = [m.prepared for m in model.modules() if isinstance(m, Prepared)]
    assert sum(p is not None for p in kept) >= 4  # head, units, reduction, tail
    model.to(memory_format=torch.channels_last)(IMAGE)
    model(IMAGE)
    now = [m.prepared for m in model.modules() if isinstance(m, Prepared)]
    assert all(a is b for a, b in zip(kept, now, strict=True))


def test_a_compiled_fused_network_follows_its_weights() -> None:
    torch._dynamo.reset()
    model = network().fuse()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    before = compiled(IMAGE)
    torch.testing.assert_close(before, model(IMAGE), rtol=2e-4, atol=2e-5)
    times_two(model)
    torch.testing.assert_close(compiled(IMAGE), model(IMAGE), rtol=2e-4, atol=2e-5)


def test_rounded_weights_are_made_from_the_present_ones() -> None:
    model = network().fuse()
    model(IMAGE)
    times_two(model)
    late, fresh = (Placed(m, dtype=torch.bfloat16)(IMAGE) for m in (model, copy.deepcopy(model)))
    assert torch.equal(late, fresh)


@pytest.mark.parametrize("kind", [AWSRN, ImprovedAWSRN])
def test_fusing_a_fused_network(kind: type[SuperResolution]) -> None:
    """The README's lines: clamp first, 8 bits of the same network after it."""
    torch.manual_seed(0)
    model = kind(2, channels=16, wide=32, blocks=1, units=2).eval()
    fused = model.fuse(clamp=True)
    levels = fused.fuse(out_dtype=torch.uint8)(IMAGE)
    assert levels.dtype == torch.uint8 and torch.equal(levels, model.fuse(out_dtype=torch.uint8)(IMAGE))
    assert torch.equal(fused.fuse()(IMAGE), model.fuse()(IMAGE))
    assert fused.clamp and fused.out_dtype is None, "fuse() must leave the network itself as it was"
    with pytest.raises(ValueError, match="out_dtype must be None or torch.uint8"):
        model.fuse(out_dtype=torch.int8)


def test_a_parametrized_network_is_fused_as_it_computes() -> None:
    class Half(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight / 2

    model = network()
    for conv in (model.head["0"], model.body[0].b0.body["0"]):
        parametrize.register_parametrization(conv, "weight_g", Half())
    before = model(IMAGE)
    torch.testing.assert_close(model.fuse()(IMAGE), before, rtol=2e-4, atol=2e-5)
    assert torch.equal(model(IMAGE), before), "fuse() must leave the network itself as it was"


def test_gradients_of_the_input_are_those_of_the_training_form() -> None:
    model, grads = network(), []
    for form in (model, model.fuse()):
        x = IMAGE.clone().requires_grad_()
        grads.append(torch.autograd.grad(form(x).square().sum(), x)[0])
    torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-4)


def test_a_fused_network_does_not_train() -> None:
    model = network().fuse()
    for ask in (model.train, model.requires_grad_):
        with pytest.raises(RuntimeError, match="a fused network does not train"):
            ask()
    assert not model.train(False).training


def test_weights_of_a_fused_network_are_not_taken_for_others(tmp_path) -> None:
    model = network()
    fused = model.fuse()
    for strict in (True, False):
        with pytest.raises(RuntimeError, match="do not fit the training form"):
            model.load_state_dict(fused.state_dict(), strict=strict)
    with pytest.raises(ValueError, match="weights of a fused network"):
        build(fused.state_dict())
    with pytest.raises(ValueError, match="save the one it was fused from"):
        save_weights(tmp_path / "w.safetensors", fused)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="no branches any more"):
        contributions(fused, [IMAGE])


@pytest.mark.parametrize(
    "module", [WNConv2d(16, 16, 3), AWMS(16, 2, (1, 3)), AWRU(16, 32)], ids=lambda m: type(m).__name__
)
def test_folding_twice_is_folding_once(module: Prepared) -> None:
    module.fold()
    state = module.state_dict()
    module.fold()
    assert all(torch.equal(a, b) for a, b in zip(state.values(), module.state_dict().values(), strict=True))
