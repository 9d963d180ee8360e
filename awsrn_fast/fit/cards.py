"""Graphics cards by name: memory and compute capability."""

from __future__ import annotations

import re
from typing import NamedTuple

from awsrn_fast.errors import UserError
from awsrn_fast.memory.budget import GIB

DRIVER_SHARE = 0.025
"""Share of the memory reserved by driver and firmware: torch reports 10.76 GiB on an RTX 2080 Ti of 11 GiB."""

ECC_SHARE = 1 / 16
"""Share of GDDR memory used by ECC where it is on by default: a T4 of 16 GiB reports less than 15."""


class Card(NamedTuple):
    """Nominal memory in GiB, compute capability, and whether ECC reserves a part of the memory."""

    memory: float
    capability: tuple[int, int]
    ecc: bool = False

    @property
    def usable(self) -> int:
        """Bytes available to programs, including the CUDA context."""
        return int(self.memory * GIB * (1 - DRIVER_SHARE) * (1 - ECC_SHARE * self.ecc))


PASCAL, TURING, AMPERE, ADA, BLACKWELL = (6, 1), (7, 5), (8, 6), (8, 9), (12, 0)

# Memory: compared with public lists for laptop cards of the RTX 30 to 50 series (40: NVIDIA's own table; not the RTX
# 5060 Laptop and 3080 Laptop 16GB), RTX 5050 to 5090, A40, L4 and L40S; the others were not looked up again. Compute
# capability: the CUDA programming guide's table.
CARDS: dict[str, Card] = {
    "GTX 1050": Card(2, PASCAL),
    "GTX 1050 Ti": Card(4, PASCAL),
    "GTX 1060 3GB": Card(3, PASCAL),
    "GTX 1060 6GB": Card(6, PASCAL),
    "GTX 1070": Card(8, PASCAL),
    "GTX 1070 Ti": Card(8, PASCAL),
    "GTX 1080": Card(8, PASCAL),
    "GTX 1080 Ti": Card(11, PASCAL),
    "GTX 1650": Card(4, TURING),
    "GTX 1650 Ti": Card(4, TURING),
    "GTX 1650 Super": Card(4, TURING),
    "GTX 1660": Card(6, TURING),
    "GTX 1660 Super": Card(6, TURING),
    "GTX 1660 Ti": Card(6, TURING),
    "RTX 2060": Card(6, TURING),
    "RTX 2060 12GB": Card(12, TURING),
    "RTX 2060 Super": Card(8, TURING),
    "RTX 2070": Card(8, TURING),
    "RTX 2070 Super": Card(8, TURING),
    "RTX 2080": Card(8, TURING),
    "RTX 2080 Super": Card(8, TURING),
    "RTX 2080 Ti": Card(11, TURING),
    "Titan RTX": Card(24, TURING),
    "T4": Card(16, TURING, ecc=True),
    "Quadro RTX 4000": Card(8, TURING),
    "Quadro RTX 5000": Card(16, TURING),
    "Quadro RTX 6000": Card(24, TURING),
    "Quadro RTX 8000": Card(48, TURING),
    "V100 16GB": Card(16, (7, 0)),
    "V100 32GB": Card(32, (7, 0)),
    "RTX 3050": Card(8, AMPERE),
    "RTX 3050 Ti Laptop": Card(4, AMPERE),
    "RTX 3060 Laptop": Card(6, AMPERE),
    "RTX 3070 Laptop": Card(8, AMPERE),
    "RTX 3070 Ti Laptop": Card(8, AMPERE),
    "RTX 3080 Laptop 8GB": Card(8, AMPERE),
    "RTX 3080 Laptop 16GB": Card(16, AMPERE),
    "RTX 3080 Ti Laptop": Card(16, AMPERE),
    "RTX 3060": Card(12, AMPERE),
    "RTX 3060 Ti": Card(8, AMPERE),
    "RTX 3070": Card(8, AMPERE),
    "RTX 3070 Ti": Card(8, AMPERE),
    "RTX 3080": Card(10, AMPERE),
    "RTX 3080 12GB": Card(12, AMPERE),
    "RTX 3080 Ti": Card(12, AMPERE),
    "RTX 3090": Card(24, AMPERE),
    "RTX 3090 Ti": Card(24, AMPERE),
    "RTX A4000": Card(16, AMPERE),
    "RTX A5000": Card(24, AMPERE),
    "RTX A6000": Card(48, AMPERE),
    "A10": Card(24, AMPERE, ecc=True),
    "A10G": Card(24, AMPERE, ecc=True),
    "A2": Card(16, AMPERE, ecc=True),
    "A40": Card(48, AMPERE, ecc=True),
    "A30": Card(24, (8, 0)),
    "A100 40GB": Card(40, (8, 0)),
    "A100 80GB": Card(80, (8, 0)),
    "RTX 4050 Laptop": Card(6, ADA),
    "RTX 4060 Laptop": Card(8, ADA),
    "RTX 4070 Laptop": Card(8, ADA),
    "RTX 4080 Laptop": Card(12, ADA),
    "RTX 4090 Laptop": Card(16, ADA),
    "RTX 4060": Card(8, ADA),
    "RTX 4060 Ti": Card(8, ADA),
    "RTX 4060 Ti 16GB": Card(16, ADA),
    "RTX 4070": Card(12, ADA),
    "RTX 4070 Super": Card(12, ADA),
    "RTX 4070 Ti": Card(12, ADA),
    "RTX 4070 Ti Super": Card(16, ADA),
    "RTX 4080": Card(16, ADA),
    "RTX 4080 Super": Card(16, ADA),
    "RTX 4090": Card(24, ADA),
    "RTX 6000 Ada": Card(48, ADA),
    "L4": Card(24, ADA, ecc=True),
    "L40": Card(48, ADA, ecc=True),
    "L40S": Card(48, ADA, ecc=True),
    "H100": Card(80, (9, 0)),
    "H200": Card(141, (9, 0)),
    "B200": Card(180, (10, 0)),
    "RTX 5050": Card(8, BLACKWELL),
    "RTX 5060": Card(8, BLACKWELL),
    "RTX 5060 Ti 8GB": Card(8, BLACKWELL),
    "RTX 5060 Ti 16GB": Card(16, BLACKWELL),
    "RTX 5070": Card(12, BLACKWELL),
    "RTX 5070 Ti": Card(16, BLACKWELL),
    "RTX 5080": Card(16, BLACKWELL),
    "RTX 5090": Card(32, BLACKWELL),
    "RTX 5060 Laptop": Card(8, BLACKWELL),
    "RTX 5070 Laptop": Card(8, BLACKWELL),
    "RTX 5070 Ti Laptop": Card(12, BLACKWELL),
    "RTX 5080 Laptop": Card(16, BLACKWELL),
    "RTX 5090 Laptop": Card(24, BLACKWELL),
}
"""Cards by the name that :func:`find_card` takes, brand words and spacing aside."""


def find_card(name: str) -> tuple[str, Card]:
    """A card and its name in :data:`CARDS`, from a case-insensitive name, such as nvidia-smi prints.

    Brand, form factor ("PCIe"), type of memory and, if unambiguous, its size are ignored.

    Raises:
        UserError: unknown card, or one sold with several memory sizes.
    """
    wanted = _plain(name)
    for known, card in CARDS.items():
        if wanted in (_plain(known), f"{_plain(known)}{card.memory:g}gb"):
            return known, card
    similar = [known for known in CARDS if wanted and _plain(known).startswith(wanted)]
    if similar:
        raise UserError(f"--gpu {name!r} may be any of {', '.join(similar)}: say which")
    raise UserError(
        f"--gpu {name!r} is not in the table: give its memory, such as --memory 11GB; known are {', '.join(CARDS)}"
    )


def _plain(name: str) -> str:
    words = r"nvidia|geforce|tesla|quadro|\bsxm\d?\b|\bpcie\b|\bhbm\w*|\bgpu\b|\bgeneration\b|with max-q design"
    return re.sub(rf"{words}|[^a-z0-9]", "", name.lower())
