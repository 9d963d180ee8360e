"""Runs ``awsrn_fast.train`` and kills it with SIGKILL at a named point: ``python killed_run.py POINT OPTIONS...``."""

from __future__ import annotations

import os
import signal
import sys

import torch

from awsrn_fast.train import logs, state
from awsrn_fast.train.command import main
from awsrn_fast.train.step import Step


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_step() -> None:
    original = Step.__call__

    def step(self, *batch):
        loss = original(self, *batch)
        if self.learner.iteration == 7:
            die()
        return loss

    Step.__call__ = step


def before_the_first_checkpoint() -> None:
    Step.__call__ = lambda self, *batch: die()


def inside_a_checkpoint_write() -> None:
    original = torch.save

    def save(content, path):
        original(content, path)
        if content["iteration"] == 6:
            with open(path, "rb+") as file:
                file.truncate(path.stat().st_size // 2)
            die()

    state.torch.save = save


def between_the_renames_of_a_checkpoint() -> None:
    original = os.replace

    def replace(source, target):
        original(source, target)
        if str(target).endswith(state.PREVIOUS):
            die()

    state.os.replace = replace


def after_half_a_row_of_metrics() -> None:
    original = logs.Metrics.add

    def add(self, iteration, **values):
        original(self, iteration, **values)
        if iteration == 8:
            with open(self.path, "rb+") as file:
                file.truncate(self.path.stat().st_size - 9)
            die()

    logs.Metrics.add = add


POINTS = (
    before_the_first_checkpoint,
    in_a_step,
    inside_a_checkpoint_write,
    between_the_renames_of_a_checkpoint,
    after_half_a_row_of_metrics,
)

if __name__ == "__main__":
    {point.__name__: point for point in POINTS}[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
