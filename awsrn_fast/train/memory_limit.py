"""Enforcement of ``--memory-limit``: a run predicted not to fit is refused before it starts."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import torch
from torch import Tensor

from awsrn_fast.config import Config
from awsrn_fast.data import Photos
from awsrn_fast.errors import UserError
from awsrn_fast.memory import (
    ASSUMED,
    Need,
    Network,
    Prediction,
    Target,
    largest,
    need,
    parse_size,
    predict_inference,
    predict_training,
    show_size,
)
from awsrn_fast.models import SuperResolution

from .adversarial_step import AdversarialStep
from .discriminator_state import DiscriminatorState
from .distributed import World
from .schedule import Phase, phases
from .state import Learner


class Budget:
    """Predicted memory of a run on each device, compared with its ``--memory-limit``.

    Args:
        config: the run.
        device: where it runs.
        dtype: autocast dtype.
        world: the processes that share a batch.
        discriminator_state: of the adversarial stages; left unchanged.

    Raises:
        UserError: the limit is not a valid size.
    """

    def __init__(
        self,
        config: Config,
        device: torch.device,
        dtype: torch.dtype,
        world: World,
        discriminator_state: DiscriminatorState | None = None,
    ) -> None:
        self.discriminator_state = discriminator_state
        self.limit = parse_size(config.memory_limit)
        self.config, self.world = config, world
        kind = "cpu" if device.type == "cpu" else "cuda"
        capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
        self.assumed, self.target = ASSUMED[kind], Target(kind, capability, dtype)
        self.network = Network(
            config.variant, config.scale, config.network_options, config.channels_last, config.checkpoint_activations
        )

    def check_steps(self) -> Need:
        """Predicted memory of the steps in the largest phase.

        Raises:
            UserError: more than the limit; says how much, and what would fit.
        """
        predicted = {phase: self._need(self._step(self.network, phase)) for phase in phases(self.config)}
        phase, most = max(predicted.items(), key=lambda item: item[1].total)
        if most.total > self.limit:
            raise UserError(
                f"--memory-limit {self.config.memory_limit}: training with {phase.batch} patches of {phase.patch} is "
                f"predicted to take {show_size(most.total)} ({_parts(most)}); {self._way_out(phase)}"
            )
        return most

    def check_validation(self, photos: Photos) -> None:
        """Raise UserError if validating on the largest of these photographs would exceed the limit."""
        height, width = max((photo.lr.shape[:2] for photo in photos), key=lambda size: size[0] * size[1])
        # Optimiser state and gradients stay allocated while whole images are validated in fp32.
        phase = phases(self.config)[0]
        state = self._step(self.network, phase._replace(batch=self.world.size))
        held = state.weights + state.average + state.optimizer * 3 // 2  # Adam keeps two moments per gradient
        picture = predict_inference(self.network, replace(self.target, dtype=torch.float32), height, width)
        most = self._need(replace(picture, work=picture.work + held))
        if most.total > self.limit:
            raise UserError(
                f"--memory-limit {self.config.memory_limit}: validating on an image of {width} x {height} LR pixels is "
                f"predicted to take {show_size(most.total)} ({_parts(most)}); give smaller images by --valid"
            )

    def _step(self, network: Network, phase: Phase) -> Prediction:
        batch, ema = self.world.share(phase.batch), self.config.ema > 0
        if self.discriminator_state is None:
            return predict_training(network, self.target, batch, phase.patch, ema)
        state = copy.copy(self.discriminator_state)
        state.loss, state.discriminator = copy.deepcopy((state.loss, state.discriminator))
        config = replace(self.config, compile="none")

        def gradients(model: SuperResolution, lr_image: Tensor, hr_image: Tensor) -> None:
            scaler = torch.amp.GradScaler("cpu", enabled=False)
            parts = SimpleNamespace(model=model, optimizer=None, scaler=scaler, discriminator_state=state)
            learner = cast("Learner", parts)
            AdversarialStep(config, learner, self.target.dtype, World()).gradients(lr_image, hr_image)

        beside = (state.loss, state.discriminator)
        return predict_training(network, self.target, batch, phase.patch, ema, beside, gradients)

    def _need(self, prediction: Prediction) -> Need:
        return need(prediction, self.assumed)

    def _way_out(self, phase: Phase) -> str:
        again = replace(self.network, checkpoint_activations=True)
        if not self.config.checkpoint_activations:
            total = self._need(self._step(again, phase)).total
            if total <= self.limit:
                return f"with --checkpoint-activations true it is {show_size(total)}"
        batch = largest(
            lambda share: self._need(self._step(again, phase._replace(batch=share * self.world.size))).total,
            self.limit,
            most=self.world.share(phase.batch),
        )
        if not batch:
            return "not even one patch would fit: take a smaller --patch (with --curriculum false) or --variant"
        return (
            f"what fits is --curriculum false --patch {phase.patch} --batch {batch * self.world.size} "
            f"--checkpoint-activations true"
        )


def _parts(most: Need) -> str:
    assumed = most.context + most.workspace + most.margin
    return f"tensors {show_size(most.allocated)}, context, workspace and margin {show_size(assumed)}"
