"""Networks by the name of their variant, and from a state dict alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .facts import Facts
from .network import AWSRN, ImprovedAWSRN, SuperResolution
from .sizes import SCALES, VARIANTS

NETWORKS: dict[str, type[SuperResolution]] = {kind.network: kind for kind in (AWSRN, ImprovedAWSRN)}


def create(variant: str, scale: int = 4, **hyper: Any) -> SuperResolution:
    """A new network with random weights.

    Args:
        variant: a key of :data:`VARIANTS`.
        scale: 2, 3, 4 or 8.
        hyper: other arguments of the network's class, such as ``lrfu="concat"``.

    Raises:
        ValueError: unknown variant or scale, or an argument that the class does not take.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; the variants are {', '.join(VARIANTS)}")
    network, sizes = VARIANTS[variant]
    try:
        return NETWORKS[network](scale=scale, **(sizes | hyper))
    except TypeError as error:
        raise ValueError(f"{variant}: {error}") from error


def facts_table() -> list[Facts]:
    """The facts of every variant at every scale."""
    return [create(variant, scale).facts for variant in VARIANTS for scale in SCALES]


def build(state: Mapping[str, Tensor], hints: Mapping[str, Any] | None = None) -> SuperResolution:
    """The network that a state dict belongs to, with its weights.

    Args:
        state: state dict of this package or of the public AWSRN code (both of its layouts).
        hints: hyper-parameters that shapes do not show (``block``, ``halo``, ``gap``); default: the class's.

    Raises:
        ValueError: it is no state dict of these networks; says what does not fit.
    """
    state = public_names(state)
    network, hyper = read_hyper(state)
    shown = {key: value for key, value in (hints or {}).items() if key not in hyper}
    model = NETWORKS[network](**hyper, **shown)
    try:
        model.load_state_dict(dict(state))
    except RuntimeError as error:
        raise ValueError("; ".join(line.strip() for line in str(error).splitlines()[1:])) from error
    return model


def public_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys as the public code's first layout has them: without DataParallel's prefix, units b0, b1, ... ."""
    names = {key: re.sub(r"^(module\.|model\.)+", "", key) for key in state}
    return {re.sub(r"(^body\.\d+\.)lfl\.(\d+)\.", r"\1b\2.", name): state[key] for key, name in names.items()}


def read_hyper(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Network name and the constructor's arguments, as far as keys and shapes show them."""
    try:
        channels = state["head.0.weight_v"].shape[0]
        wide = state["body.0.b0.body.0.weight_v"].shape[0]
        pixels = state["skip.0.weight_v"].shape[0] // 3
    except KeyError as error:
        if "head.0.folded" in state:
            raise ValueError("weights of a fused network: save the network that it was fused from") from error
        raise ValueError(f"no AWSRN weights: there is no {error.args[0]!r}") from error
    scale = round(pixels**0.5)
    hyper: dict[str, Any] = {"scale": scale, "channels": channels, "wide": wide}
    hyper["blocks"] = _count(state, r"body\.(\d+)\.")
    hyper["units"] = _count(state, r"body\.0\.b(\d+)\.")
    hyper["kernels"] = tuple(sorted(_indices(state, r"tail\.tail_k(\d+)\.")))
    if "non_local.z.weight" not in state:
        return "awsrn", hyper
    hyper["lrfu"] = "concat" if "body.0.reduction.weight_v" in state else "hierarchical"
    return "improved", hyper


def _indices(state: Mapping[str, Tensor], pattern: str) -> set[int]:
    return {int(match[1]) for match in (re.match(pattern, key) for key in state) if match}


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return len(_indices(state, pattern))
