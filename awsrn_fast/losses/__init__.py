"""Training losses: pixel, perceptual and adversarial losses (eq. 13-15), and their stages."""

from __future__ import annotations

from .adversarial import discriminator_loss, generator_loss
from .discriminator import Discriminator
from .perceptual import PerceptualLoss
from .stages import STAGES, GeneratorLoss, Stage
from .vgg import VGG19Features

__all__ = [
    "STAGES",
    "Discriminator",
    "GeneratorLoss",
    "PerceptualLoss",
    "Stage",
    "VGG19Features",
    "discriminator_loss",
    "generator_loss",
]
