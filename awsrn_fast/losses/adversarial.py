"""Adversarial losses (eq. 14), from the discriminator's logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss: ``-log D(x) - log(1 - D(G(z)))``, z the LR image, mean over the batch each.

    Args:
        real: logits ``[N, 1]`` of photographs.
        fake: logits ``[N, 1]`` of the generator's output, detached from it.
    """
    return F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """The generator's loss: ``-log D(G(z))``, mean over the batch.

    The non-saturating form: ``log(1 - D(G(z)))`` of eq. 14 has almost no gradient while the discriminator wins.

    Args:
        fake: logits ``[N, 1]`` of the generator's output.
    """
    return F.softplus(-fake.float()).mean()
