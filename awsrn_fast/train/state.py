"""Everything that a run needs to go on: one file, replaced whole."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from awsrn_fast.errors import UserError
from awsrn_fast.files import replacing
from awsrn_fast.models import SuperResolution

FORMAT = 1


class Learner:
    """The network in training with its average, optimiser, gradient scaler and counters.

    Args:
        model: network in its training form, on its device.
        ema: decay of the average; 0: the average is the network itself.
        scale_gradients: for fp16.
    """

    def __init__(self, model: SuperResolution, ema: float, scale_gradients: bool) -> None:
        device = model.mean.device
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=0.0, betas=(0.9, 0.999), eps=1e-8, fused=True)
        self.scaler = torch.amp.GradScaler(device.type, enabled=scale_gradients)
        self.average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=_average(ema)) if ema else None
        self.iteration = 0
        """Steps done."""
        self.best = float("-inf")
        """Highest validation PSNR so far."""
        self.skipped = 0
        """Steps left out for a loss that was not finite."""

    @property
    def averaged(self) -> SuperResolution:
        """The network that is validated and kept."""
        return self.model if self.average is None else self.average.module

    def save(self, path: Path) -> None:
        """Write everything to ``path``, whole or not at all."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        counters = {"iteration": self.iteration, "best": self.best, "skipped": self.skipped}
        network = {"network": self.model.network, "hyper": self.model.hyper}
        content = {"format": FORMAT, "random": torch.get_rng_state(), **network, **counters, **parts}
        with replacing(path) as beside:
            torch.save(content, beside)

    def load(self, path: Path) -> None:
        """Take everything from ``path``.

        Raises:
            UserError: the file is missing, cut short, or of another network.
        """
        if not path.is_file():
            raise UserError(f"no training state {path}: nothing to resume; start the run without --resume")
        try:
            content = torch.load(path, map_location=self.model.mean.device, weights_only=True)
        except (pickle.UnpicklingError, EOFError, RuntimeError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"cannot read training state {path}: {reason}") from error
        if content.get("format") != FORMAT:
            raise UserError(f"{path} is no training state of this version (format {FORMAT})")
        if content["network"] != self.model.network or content["hyper"] != self.model.hyper:
            raise UserError(f"{path} belongs to another network: {content['network']} {content['hyper']}")
        for name, part in self._parts().items():
            part.load_state_dict(content[name])
        torch.set_rng_state(content["random"].cpu())
        self.iteration, self.best, self.skipped = content["iteration"], content["best"], content["skipped"]

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer | torch.amp.GradScaler]:
        parts = {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler}
        return parts if self.average is None else parts | {"average": self.average}


def _average(decay: float):
    @torch.no_grad()
    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], steps: Any) -> None:
        # Warm-up: a constant decay would keep the random first weights for a thousand steps.
        warm = (1 + float(steps)) / (10 + float(steps))
        torch._foreach_lerp_(averaged, current, 1 - min(decay, warm))

    return update
