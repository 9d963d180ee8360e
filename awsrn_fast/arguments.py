"""Command-line parsing: a parser with one-line errors, and types for numeric options."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, NoReturn

from .commands import spelled
from .errors import UserError


class Parser(argparse.ArgumentParser):
    """argparse's parser for the command ``name`` as it was started; wrong usage raises a UserError."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(prog=spelled(name), **options)

    def error(self, message: str) -> NoReturn:
        raise UserError(wrong_usage(message, self.prog))


def wrong_usage(message: str, prog: str) -> str:
    """One line that says what is wrong and where the options are listed."""
    return f"{' '.join(message.split())} ({prog} --help lists the options)"


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """Option type: an integer from ``low`` to ``high``; None: unbounded."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"a whole number is needed, not {text!r}") from None
        if value < low or (high is not None and value > high):
            limits = f"at least {low}" if high is None else f"{low} to {high}"
            raise argparse.ArgumentTypeError(f"must be {limits}, got {value}")
        return value

    return number


def real(low: float, high: float | None = None) -> Callable[[str], float]:
    """Option type: a finite number from ``low`` to ``high``; None: unbounded."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"a number is needed, not {text!r}") from None
        if not (low <= value < math.inf and (high is None or value <= high)):
            limits = f"at least {low:g}" if high is None else f"{low:g} to {high:g}"
            raise argparse.ArgumentTypeError(f"must be {limits}, got {text}")
        return value

    return number
