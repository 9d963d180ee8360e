"""The discriminator of the adversarial stages with its optimiser, and the generator loss."""

from __future__ import annotations

from typing import Any

import torch

from awsrn_fast.config import Config
from awsrn_fast.errors import UserError
from awsrn_fast.losses import STAGES, Discriminator, GeneratorLoss, PerceptualLoss, VGG19Features
from awsrn_fast.losses.vgg import SHA256, file_sha256
from awsrn_fast.nn import in_channels_last


class DiscriminatorState:
    """The discriminator with its optimiser, and the generator loss of the stage.

    Args:
        config: of an adversarial stage.
        device: where to.

    Raises:
        UserError: the VGG19 weights are missing, cut short or something else.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self.stage, self.layers, self.norm = STAGES[config.stage], config.perceptual_layers, config.perceptual_norm
        self.vgg_weights = config.vgg_weights
        perceptual = PerceptualLoss(VGG19Features(self.vgg_weights, self.layers), self.norm)
        self.vgg_sha256 = file_sha256(self.vgg_weights)
        self.loss = GeneratorLoss(self.stage, perceptual).to(device)
        self.discriminator = Discriminator().to(device)
        if config.channels_last:
            in_channels_last(self.loss)
            in_channels_last(self.discriminator)
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=0.0, betas=config.betas, fused=True)
        self.figures: list[dict[str, float]] = []
        """Parts of the losses, step by step, since the last row of losses.csv."""
        self._resumed_vgg = self.vgg_sha256

    def describe(self) -> list[str]:
        """Lines for the user on the losses that are minimised, and a warning about unusual VGG19 weights."""
        lines = [f"loss: {self.stage}, VGG at {', '.join(self.layers)} by {self.norm}"]
        if self.vgg_sha256 != SHA256:
            lines.append(
                f"{self.vgg_weights} are not torchvision's published VGG19 weights (SHA-256 "
                f"{self.vgg_sha256}, not {SHA256}): results cannot be compared with others'"
            )
        return lines

    def check_resumed(self) -> None:
        """Raise UserError if the resumed run had other VGG19 weights."""
        if self._resumed_vgg != self.vgg_sha256:
            raise UserError(
                f"the run was started with other VGG19 weights than {self.vgg_weights} (SHA-256 {self._resumed_vgg}, "
                f"not {self.vgg_sha256}): give the same by --vgg-weights"
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes in training, and the hash of the VGG19 weights."""
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "figures": self.figures,
            "vgg_sha256": self.vgg_sha256,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.figures, self._resumed_vgg = state["figures"], state["vgg_sha256"]
