"""The variants: names for a network's sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SIZES = {"full": {"blocks": 4}, "m": {"blocks": 3}, "s": {"blocks": 1}}
VARIANTS: dict[str, tuple[str, dict[str, int]]] = {
    **{f"awsrn-{size}": ("awsrn", hyper) for size, hyper in SIZES.items()},
    "awsrn-sd": ("awsrn", {"channels": 16, "blocks": 1, "units": 8}),
    **{f"improved-{size}": ("improved", hyper) for size, hyper in SIZES.items()},
}
"""Network and sizes by name; sizes that are not there are :data:`DEFAULTS`."""
DEFAULTS = {"channels": 32, "wide": 128, "units": 4}
SCALES = (2, 3, 4, 8)


def variant_of(network: str, hyper: Mapping[str, Any]) -> str:
    """The name of a network's sizes, or "custom"."""
    sizes = {key: hyper[key] for key in ("channels", "wide", "blocks", "units")}
    for name, (kind, own) in VARIANTS.items():
        if kind == network and sizes == DEFAULTS | own:
            return name
    return "custom"
