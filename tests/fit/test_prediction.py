"""The prediction against what torch's allocator gives out in a real step and a real inference."""

from __future__ import annotations

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from awsrn_fast.config import Config
from awsrn_fast.inference import Placed
from awsrn_fast.losses.vgg import LAYERS
from awsrn_fast.memory import ASSUMED, Network, Target, need, predict_inference, predict_training
from awsrn_fast.train.adversarial_step import AdversarialStep
from awsrn_fast.train.discriminator_state import DiscriminatorState
from awsrn_fast.train.distributed import World
from awsrn_fast.train.memory_limit import Budget
from awsrn_fast.train.state import Learner
from awsrn_fast.train.step import Step

CPU = {dtype: Target("cpu", None, dtype) for dtype in (torch.float32, torch.bfloat16)}


def measured(prepare) -> int:
    """Peak bytes of the CPU allocator in the function that ``prepare`` returns, with all that it made before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        run = prepare()
        with record_function("measured"):
            run()
    events = sorted(trace.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    start = next(event.start_ns() for event in events if event.name() == "measured")
    live = peak = 0
    for event in events:
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live) if event.start_ns() >= start else live
    return peak


def training(network: Network, dtype: torch.dtype, batch: int, patch: int, device: str = "cpu"):
    def prepare():
        model = network.create().train().to(device)
        learner = Learner(model, 0.999, scale_gradients=dtype == torch.float16)
        step = Step(Config(variant=network.variant, scale=network.scale), learner, dtype, World())
        images = (torch.rand(batch, 3, k * patch, k * patch, device=device) for k in (1, network.scale))
        lr_image, hr_image = images
        step(lr_image, hr_image)
        return lambda: step(lr_image, hr_image)

    return prepare


def inference(network: Network, dtype: torch.dtype, height: int, width: int):
    def prepare():
        placed, picture = Placed(network.create().eval().fuse(), "cpu", dtype), torch.rand(1, 3, height, width)
        placed(picture[:, :, :1, :1])  # kernels prepare weights at the first call; the peak is that of the later ones
        return lambda: placed(picture)

    return prepare


@pytest.mark.parametrize("checkpoint", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("dtype", CPU, ids=str)
@pytest.mark.parametrize(
    "variant, batch, patch", [("awsrn-s", 4, 32), ("awsrn-sd", 3, 24), ("improved-s", 2, 56), ("improved-m", 2, 24)]
)
def test_training_step(variant: str, batch: int, patch: int, dtype: torch.dtype, checkpoint: bool) -> None:
    network = Network(variant, 4, checkpoint_activations=checkpoint)
    predicted = predict_training(network, CPU[dtype], batch, patch).peak
    # Native kernels rearrange weights at every call, a megabyte, which counts in networks as small as these.
    assert predicted == pytest.approx(measured(training(network, dtype, batch, patch)), rel=0.03, abs=1.2e6)


@pytest.mark.parametrize("dtype", CPU, ids=str)
@pytest.mark.parametrize("variant, scale", [("awsrn-s", 4), ("awsrn-sd", 2), ("improved-s", 4), ("improved-m", 3)])
@pytest.mark.parametrize("height, width", [(96, 128), (53, 75)])
def test_inference(variant: str, scale: int, dtype: torch.dtype, height: int, width: int) -> None:
    network = Network(variant, scale)
    predicted = predict_inference(network, CPU[dtype], height, width).peak
    assert predicted == pytest.approx(measured(inference(network, dtype, height, width)), rel=0.1)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_attention_over_all_positions_takes_memory_by_the_pixel(device: str) -> None:
    target = Target(device, (7, 5) if device == "cuda" else None, torch.float16 if device == "cuda" else torch.float32)
    network = Network("improved-s", 2, {"block": None, "halo": 0})
    small, large = (predict_inference(network, target, side, side).work for side in (100, 200))
    assert large == pytest.approx(4 * small, rel=0.1)
    small, large = (predict_training(network, target, 1, side).work for side in (100, 200))
    assert large == pytest.approx(4 * small, rel=0.1)


@pytest.fixture(scope="module")
def stage_g(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Stage G with a VGG19 of random weights, as deep as conv3_1."""
    state, channels = {}, 3
    for name, index in list(LAYERS.items())[:5]:
        width = 2 ** (5 + int(name[4]))
        state[f"features.{index}.weight"], state[f"features.{index}.bias"] = (
            torch.randn(width, channels, 3, 3),
            torch.randn(width),
        )
        channels = width
    path = tmp_path_factory.mktemp("vgg") / "vgg.pth"
    torch.save(state, path)
    rest = {"curriculum": False, "patch": 48, "batch": 2, "perceptual_layers": ("conv3_1",)}
    return Config(
        variant="improved-s", stage="G", init="p.safetensors", vgg_weights=str(path), memory_limit="1TB", **rest
    )


# bf16 is emulated on most CPUs: two minutes.
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.slow)], ids=str)
def test_adversarial_step(stage_g: Config, dtype: torch.dtype) -> None:
    device = torch.device("cpu")
    discriminator_state = DiscriminatorState(stage_g, device)
    before = [p.clone() for p in discriminator_state.discriminator.parameters()]
    predicted = Budget(stage_g, device, dtype, World(), discriminator_state).check_steps().allocated
    assert all(torch.equal(a, b) for a, b in zip(before, discriminator_state.discriminator.parameters(), strict=True))

    def prepare():
        model = Network("improved-s", 4).create().train()
        learner = Learner(model, stage_g.ema, scale_gradients=False, betas=stage_g.betas)
        learner.discriminator_state = DiscriminatorState(stage_g, device)
        step = AdversarialStep(stage_g, learner, dtype, World())
        lr_image, hr_image = torch.rand(2, 3, 48, 48), torch.rand(2, 3, 192, 192)
        step(lr_image, hr_image)
        return lambda: step(lr_image, hr_image)

    # Measured 3.3 % too low in bf16 on a CPU without instructions for it (Zen 3); the cause is not known.
    assert predicted == pytest.approx(measured(prepare), rel=0.05)


@pytest.mark.gpu
@pytest.mark.parametrize("checkpoint", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("variant", ["awsrn-m", "improved-m"])
def test_training_step_on_a_gpu(variant: str, dtype: torch.dtype, checkpoint: bool) -> None:
    network = Network(variant, 4, checkpoint_activations=checkpoint)
    target = Target("cuda", torch.cuda.get_device_capability(), dtype)
    predicted = predict_training(network, target, batch=16, patch=48)
    before = torch.cuda.memory_allocated()
    run = training(network, dtype, 16, 48, "cuda")()
    torch.cuda.reset_peak_memory_stats()
    run()
    # The libraries' workspaces come from the same allocator.
    most = predicted.peak + need(predicted, ASSUMED["cuda"]).workspace
    assert 0.9 * predicted.peak <= torch.cuda.max_memory_allocated() - before <= 1.1 * most
