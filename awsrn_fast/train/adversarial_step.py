"""One step of an adversarial stage: network and discriminator learn in turn from the same batch."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from awsrn_fast.config import Config
from awsrn_fast.data import Photos
from awsrn_fast.errors import UserError
from awsrn_fast.losses import Discriminator, discriminator_loss

from .distributed import World
from .state import Learner
from .step import Step


class AdversarialStep(Step):
    """Stages G and G-literal; arguments as for :class:`Step`, for a learner with a discriminator.

    Both gradients are computed at the weights before the step, and either both networks are updated or neither (except
    that the gradient scaler skips one whose gradient overflowed). Several GPUs synchronise BatchNorm's statistics.
    """

    columns = ("iteration", "pixel", "perceptual", "adversarial", "discriminator", "real", "fake")

    def __init__(self, config: Config, learner: Learner, dtype: torch.dtype, world: World) -> None:
        super().__init__(config, learner, dtype, world)
        assert learner.discriminator_state is not None
        self.discriminator_state = learner.discriminator_state
        other = self.discriminator_state.optimizer
        self.optimizers.append((other, dataclasses.replace(config, lr=config.discriminator_lr)))
        if world.size > 1 and self.device.type == "cuda":  # on CPUs, which torch does not support, each its own
            nn.SyncBatchNorm.convert_sync_batchnorm(self.discriminator_state.discriminator)
        judge = _Judge(self.discriminator_state.discriminator)
        self.judge = DistributedDataParallel(judge) if world.size > 1 else judge
        self._parts: dict[str, Tensor] = {}

    def __call__(self, lr_image: Tensor, hr_image: Tensor) -> Tensor | None:
        loss = super().__call__(lr_image, hr_image)
        if loss is not None:
            means = self.world.mean(torch.stack([value.float() for value in self._parts.values()])).tolist()
            self.discriminator_state.figures.append(dict(zip(self._parts, means, strict=True)))
        return loss

    def gradients(self, lr_image: Tensor, hr_image: Tensor) -> list[Tensor]:
        output = self.output(lr_image)
        discriminator = self.discriminator_state.discriminator
        with torch.profiler.record_function("losses"), self.autocast(), _frozen(discriminator):
            loss, parts = self.discriminator_state.loss(output, hr_image, discriminator(output))
        self.backward(loss)
        with torch.profiler.record_function("discriminator"), self.autocast():
            real, fake = self.judge(hr_image, output.detach())
            judged = discriminator_loss(real, fake)
        self.backward(judged)
        certainty = {"real": real.detach().float().sigmoid().mean(), "fake": fake.detach().float().sigmoid().mean()}
        self._parts = parts | {"discriminator": judged.detach()} | certainty
        return [loss.detach(), judged.detach()]

    def figures(self) -> dict[str, float]:
        """Means since the last call: the parts of the network's loss before their weights, the discriminator's loss,
        and its mean probability for photographs ("real") and outputs ("fake")."""
        taken, self.discriminator_state.figures = self.discriminator_state.figures, []
        return {name: fmean(step[name] for step in taken) for name in (taken[0] if taken else ())}


def large_enough(photos: Photos, patch: int) -> tuple[Photos, str]:
    """The photos that contain a whole LR patch, as the discriminator has a fixed input size; and a line on the others.

    Raises:
        UserError: none does.
    """
    keep = [i for i, photo in enumerate(photos) if min(photo.lr.shape[:2]) >= patch]
    small = [photo.name for photo in photos if min(photo.lr.shape[:2]) < patch]
    side = patch * photos.scale
    if not keep:
        raise UserError(f"no training image holds the {side} x {side} pixels that the discriminator judges")
    if not small:
        return photos, ""
    remark = f"{len(small)} of {len(photos)} images are smaller than {side} x {side} and left out, such as {small[0]}"
    return photos.only(keep), remark


class _Judge(nn.Module):
    """The discriminator on both batches in one call, as DistributedDataParallel expects; with separate statistics."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        return self.discriminator(real), self.discriminator(fake)


@contextlib.contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Context in which gradients flow through the network but not to its weights."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
