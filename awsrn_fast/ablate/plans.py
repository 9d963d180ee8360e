"""Ablation plans: rows of trainer options, by name."""

from __future__ import annotations

from typing import Any

_MPTS = ("curriculum", "sgdr", "fass")
_OFF = dict.fromkeys(_MPTS, False)

Plan = dict[str, dict[str, Any]]
"""Configuration fields by the name of a row; the first row is what the others are compared with."""

PLANS: dict[str, Plan] = {
    # The parts of multi-phase training, each alone and all together.
    "mpts": {
        "baseline": _OFF,
        **{f"+{part}": _OFF | {part: True} for part in _MPTS},
        "all": dict.fromkeys(_MPTS, True),
    },
    # Open choices in the improved network, against the baseline of the same size.
    "network": {
        "awsrn-s": {"variant": "awsrn-s"},
        "improved-s": {"variant": "improved-s"},
        "improved-s, concat LRFU": {"variant": "improved-s", "lrfu": "concat"},
        "improved-s, gate of the residual": {"variant": "improved-s", "gap": "residual"},
    },
}
