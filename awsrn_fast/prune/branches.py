"""Contribution of each branch of the reconstruction (AWMS), and removal of branches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast.models import SuperResolution
from awsrn_fast.models.variants import NETWORKS


@torch.no_grad()
def contributions(model: SuperResolution, images: Iterable[Tensor]) -> dict[int, float]:
    """The share of each branch k in ``sum_k E||alpha_k W_k * F||``, by kernel size; E over the images.

    The factors alpha_k alone say nothing: under weight norm they and the gains of W_k are one number.

    Args:
        model: in its training form, on the images' device.
        images: LR, ``[1, 3, H, W]`` in [0, 1], at least one.
    """
    if model.is_fused:
        raise ValueError("contributions: a fused network has no branches any more; give the one it was fused from")
    sums = dict.fromkeys(model.tail.kernels, 0.0)
    for image in images:
        features = model.features(image)
        for k in sums:
            weight = getattr(model.tail, f"scale_k{k}").scale * getattr(model.tail, f"tail_k{k}").weight()
            sums[k] += torch.linalg.vector_norm(F.conv2d(features, weight, padding=k // 2)).item()
    total = sum(sums.values())
    return {k: value / total for k, value in sums.items()}


def without(model: SuperResolution, shares: Mapping[int, float], removed: Iterable[int]) -> SuperResolution:
    """A new network without the branches of the kernel sizes ``removed``; all other weights are kept.

    The biases of these branches go to the one that contributes most, so that the mean colours stay.
    """
    removed = set(removed)
    kept = tuple(k for k in model.tail.kernels if k not in removed)
    pruned = NETWORKS[model.network](**model.hyper | {"kernels": kept})
    state = {key: value.clone() for key, value in model.state_dict().items()}
    lost = sum(state.pop(f"tail.scale_k{k}.scale") * state.pop(f"tail.tail_k{k}.bias") for k in removed)
    for k in removed:
        del state[f"tail.tail_k{k}.weight_g"], state[f"tail.tail_k{k}.weight_v"]
    first = max(kept, key=lambda k: shares[k])
    state[f"tail.tail_k{first}.bias"] += lost / state[f"tail.scale_k{first}.scale"]
    pruned.load_state_dict(state)
    pruned.training_facts = dict(model.training_facts)
    return pruned.eval()
