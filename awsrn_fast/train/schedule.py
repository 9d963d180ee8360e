"""The training schedule as pure functions of the iteration: patch and batch size, learning rate."""

from __future__ import annotations

from math import cos, pi
from typing import NamedTuple

from awsrn_fast.config import Config


class Phase(NamedTuple):
    """Part of the training with constant patch and batch size; ``start`` is its first iteration."""

    start: int
    patch: int
    batch: int


CURRICULUM = ((0.0, 32, 32), (0.3, 48, 16), (0.7, 64, 8))
"""Start as a share of the iterations, LR patch side, batch: small and many first, large and few at the end."""

HALVINGS = 5


def phases(config: Config) -> list[Phase]:
    """The phases of a run, in order."""
    if not config.curriculum:
        return [Phase(0, config.patch, config.batch)]
    return [Phase(round(share * config.iterations), patch, batch) for share, patch, batch in CURRICULUM]


def phase_at(iteration: int, config: Config) -> Phase:
    """The phase that an iteration, counted from 0, belongs to."""
    return [phase for phase in phases(config) if phase.start <= iteration][-1]


def cycle_ends(config: Config) -> list[int]:
    """Iterations completed at the end of each SGDR cycle, where the learning rate is lowest; always validated."""
    if not config.sgdr:
        return [config.iterations]
    return sorted({-(-config.iterations * (i + 1) // config.cycles) for i in range(config.cycles)})


def learning_rate(iteration: int, config: Config) -> float:
    """Learning rate of an iteration, counted from 0.

    With SGDR: ``config.cycles`` times lr for the share ``config.plateau`` of a cycle, then a cosine to lr_min. Without:
    halved at every fifth of the iterations, as the public recipe does.
    """
    if not config.sgdr:
        return config.lr * 0.5 ** min(HALVINGS * iteration // config.iterations, HALVINGS - 1)
    length = config.iterations / config.cycles
    position = (iteration % length) / length
    falling = max(0.0, (position - config.plateau) / (1 - config.plateau))
    return config.lr_min + 0.5 * (config.lr - config.lr_min) * (1 + cos(pi * falling))
