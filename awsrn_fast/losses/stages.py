"""The stages of training: which losses the network minimises, and with what weights (eq. 15)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from .adversarial import generator_loss
from .perceptual import Norm, PerceptualLoss


@dataclass(frozen=True)
class Stage:
    """Weights of the losses; one of weight 0 is not computed."""

    pixel: float
    perceptual: float
    adversarial: float
    norm: Norm
    """The norm of the perceptual loss that the weights are meant for."""

    def __str__(self) -> str:
        parts = {"L1": self.pixel, "VGG": self.perceptual, "GAN": self.adversarial}
        return " + ".join(f"{weight:g} {name}" for name, weight in parts.items() if weight)


STAGES = {
    "P": Stage(pixel=1.0, perceptual=0.0, adversarial=0.0, norm="l2"),
    # ESRGAN's weights.
    "G": Stage(pixel=1e-2, perceptual=1.0, adversarial=5e-3, norm="l1"),
    # Eq. 15 as printed; without a pixel term it cannot raise PSNR.
    "G-literal": Stage(pixel=0.0, perceptual=5.0, adversarial=0.15, norm="l2"),
}


class GeneratorLoss(nn.Module):
    """The network's total loss in a stage.

    Args:
        stage: the weights.
        perceptual: needed where the stage gives it a weight.
    """

    def __init__(self, stage: Stage, perceptual: PerceptualLoss | None = None) -> None:
        super().__init__()
        if stage.perceptual and perceptual is None:
            raise ValueError(f"GeneratorLoss: {stage} needs the perceptual loss")
        self.stage, self.perceptual = stage, perceptual

    def forward(self, output: Tensor, target: Tensor, fake: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss, and its parts before their weights.

        Args:
            output, target: the network's output and the photograph, ``[N, 3, H, W]``, RGB in [0, 1].
            fake: the discriminator's logits ``[N, 1]`` of ``output``, needed where the stage is adversarial.

        Returns:
            The sum, a scalar with gradients, and "pixel", "perceptual", "adversarial", detached, as far as the stage
            has them.
        """
        stage = self.stage
        parts: dict[str, Tensor] = {}
        if stage.pixel:
            parts["pixel"] = F.l1_loss(output.float(), target.float())
        if stage.perceptual and self.perceptual is not None:
            parts["perceptual"] = self.perceptual(output, target)
        if stage.adversarial:
            if fake is None:
                raise ValueError(f"GeneratorLoss: {stage} needs the discriminator's logits")
            parts["adversarial"] = generator_loss(fake)
        total = sum(getattr(stage, name) * value for name, value in parts.items())
        return total, {name: value.detach() for name, value in parts.items()}
