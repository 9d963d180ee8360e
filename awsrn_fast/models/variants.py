"""Networks by the name of their variant, and from a state dict alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .facts import Facts
from .network import AWSRN, ImprovedAWSRN, SuperResolution
from .sizes import SCALES, VARIANTS

NETWORKS: dict[str, type[SuperResolution]] = {kind.network: kind for kind in (AWSRN, ImprovedAWSRN)}


_MOST_PARTS = 64
"""Blocks, units of a block, side of a kernel: what the names in a file say before anything is built."""
_LARGEST_SPAN = 2**16


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
    _check_hints(shown)
    with torch.device("meta"):  # no memory is taken before every shape is known to fit
        expected = NETWORKS[network](**hyper, **shown).state_dict()
    _check_names_and_shapes(state, expected)
    model = NETWORKS[network](**hyper, **shown)
    model.load_state_dict(dict(state))
    return model


def _check_hints(hints: Mapping[str, Any]) -> None:
    """Raise ValueError naming a hyper-parameter with a value that cannot be used."""
    whole = {key: value for key, value in hints.items() if key in ("block", "halo") and value is not None}
    for key, value in whole.items():
        if type(value) is not int or not (key == "block") <= value <= _LARGEST_SPAN:
            raise ValueError(f"{key} is {value!r}, not a number of positions")
    if hints.get("gap", "input") not in ("input", "residual"):
        raise ValueError(f"gap is {hints['gap']!r}, not input or residual")


def _check_names_and_shapes(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError in one sentence if a state dict is not what the network expects."""
    missing = [f"no {name}" for name in expected if name not in state]
    unknown = [f"{name}, which it does not have" for name in state if name not in expected]
    shapes = {name: (list(state[name].shape), list(expected[name].shape)) for name in expected if name in state}
    wrong = [f"{name} of shape {a} in place of {b}" for name, (a, b) in shapes.items() if a != b]
    faults = missing + unknown + wrong
    if faults:
        more = f" (and {len(faults) - 3} faults more)" if len(faults) > 3 else ""
        raise ValueError(f"it has {', '.join(faults[:3])}{more}")


def public_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys as the public code's first layout has them: units b0, b1, ..., and no prefixes of DataParallel,
    torch.compile and wrappers.

    Raises:
        ValueError: two keys become one.
    """
    names = {key: re.sub(r"^(module\.|model\.)+", "", key.replace("_orig_mod.", "")) for key in state}
    public = {re.sub(r"(^body\.\d+\.)lfl\.(\d+)\.", r"\1b\2.", name): state[key] for key, name in names.items()}
    if len(public) < len(state):
        raise ValueError("it has weights twice, under names that differ in a prefix alone")
    return public


def read_hyper(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Network name and the constructor's arguments, as far as keys and shapes show them."""
    if "head.0.folded" in state:
        raise ValueError("weights of a fused network: save the network that it was fused from")
    channels = _filters(state, "head.0.weight_v")
    wide = _filters(state, "body.0.b0.body.0.weight_v")
    scale = round((_filters(state, "skip.0.weight_v") // 3) ** 0.5)
    hyper: dict[str, Any] = {"scale": scale, "channels": channels, "wide": wide}
    hyper["blocks"] = _count(state, r"body\.(\d+)\.")
    hyper["units"] = _count(state, r"body\.0\.b(\d+)\.")
    hyper["kernels"] = tuple(sorted(_indices(state, r"tail\.tail_k(\d+)\.")))
    if not hyper["kernels"] or not all(kernel % 2 for kernel in hyper["kernels"]):
        raise ValueError("it has no branches of the reconstruction with an odd side")
    if max(hyper["blocks"], hyper["units"], *hyper["kernels"]) > _MOST_PARTS:
        raise ValueError(f"it has more than {_MOST_PARTS} blocks, units or taps")
    if "non_local.z.weight" not in state:
        return "awsrn", hyper
    hyper["lrfu"] = "concat" if "body.0.reduction.weight_v" in state else "hierarchical"
    return "improved", hyper


def _filters(state: Mapping[str, Tensor], name: str) -> int:
    if name not in state:
        raise ValueError(f"no AWSRN weights: there is no {name!r}")
    if state[name].dim() != 4:
        raise ValueError(f"{name} is not the weight of a convolution: its shape is {list(state[name].shape)}")
    return state[name].shape[0]


def _indices(state: Mapping[str, Tensor], pattern: str) -> set[int]:
    return {int(match[1]) for match in (re.match(pattern, key) for key in state) if match}


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return len(_indices(state, pattern))
