"""Size limits of the kernels of ``dwpw_attention``."""

from __future__ import annotations

from awsrn_fast.backends import Call


def too_many_channels(call: Call, most: int) -> list[str]:
    """Reasons against a backend whose kernels hold ``most`` channels in, and out."""
    named = {"in": call.shape[1], "out": call.size("D")}
    return [f"{channels} channels {where} (at most {most})" for where, channels in named.items() if channels > most]
