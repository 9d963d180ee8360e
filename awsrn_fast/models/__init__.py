"""Networks, their variants by name, and what is known of each."""

from __future__ import annotations

from .facts import Facts
from .network import AWSRN, ImprovedAWSRN, SuperResolution
from .sizes import SCALES, VARIANTS
from .variants import build, create, facts_table

__all__ = [
    "AWSRN",
    "SCALES",
    "VARIANTS",
    "Facts",
    "ImprovedAWSRN",
    "SuperResolution",
    "build",
    "create",
    "facts_table",
]
