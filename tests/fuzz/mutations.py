"""Damaged copies of a file's bytes, as disks, networks, other writers and ill will leave them."""

from __future__ import annotations

import random
from collections.abc import Callable

EXTREMES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x00" * 4, b"\xff" * 4, b"\xff" * 8, b"\x00\x00\x00\x80", b"\x7f" * 8)


def mutated(content: bytes, seed: int, head: int = 4096) -> bytes:
    """A damaged copy; the same for the same seed.

    Args:
        content: a good file.
        seed: whole number.
        head: bytes at the start and at the end that hold the structure, where most of the damage is done.
    """
    draw = random.Random(seed)
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        draw.choice(_KINDS)(data, _place(data, draw, head), draw)
    return bytes(data)


def _place(data: bytearray, draw: random.Random, head: int) -> int:
    near = draw.randrange(min(head, len(data)) or 1)
    return draw.choice((near, near, len(data) - 1 - near, draw.randrange(len(data) or 1)))


def _flip_a_bit(data: bytearray, at: int, draw: random.Random) -> None:
    if data:
        data[at] ^= 1 << draw.randrange(8)


def _set_a_byte(data: bytearray, at: int, draw: random.Random) -> None:
    data[at : at + 1] = bytes([draw.randrange(256)])


def _set_an_extreme(data: bytearray, at: int, draw: random.Random) -> None:
    value = draw.choice(EXTREMES)
    data[at : at + len(value)] = value


def _cut(data: bytearray, at: int, draw: random.Random) -> None:
    del data[at:]


def _remove(data: bytearray, at: int, draw: random.Random) -> None:
    del data[at : at + draw.choice((1, 2, 4, 100, 5000))]


def _repeat(data: bytearray, at: int, draw: random.Random) -> None:
    data[at:at] = data[at : at + draw.choice((1, 4, 100, 5000))]


def _insert(data: bytearray, at: int, draw: random.Random) -> None:
    data[at:at] = draw.randbytes(draw.choice((1, 4, 64)))


def _append(data: bytearray, at: int, draw: random.Random) -> None:
    data += draw.randbytes(draw.choice((1, 100, 10000)))


_KINDS: tuple[Callable[[bytearray, int, random.Random], None], ...] = (
    *(_flip_a_bit, _set_a_byte, _set_an_extreme),
    *(_cut, _remove, _repeat, _insert, _append),
)
