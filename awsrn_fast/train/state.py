"""The training state that a resumed run needs: one file, replaced atomically."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

import awsrn_fast
from awsrn_fast import native
from awsrn_fast.errors import RunError, UserError
from awsrn_fast.files import replacing
from awsrn_fast.models import SuperResolution

from .discriminator_state import DiscriminatorState

FORMAT = 2
NAME, PREVIOUS = "state.pt", "state.previous.pt"


Stateful = nn.Module | torch.optim.Optimizer | torch.amp.GradScaler | DiscriminatorState


class Learner:
    """Training state: the network, its average, optimiser, gradient scaler and counters.

    Args:
        model: network in its training form, on its device.
        ema: decay of the average; 0: the average is the network itself.
        scale_gradients: whether to use gradient scaling (fp16).
        betas: Adam's betas.
    """

    def __init__(
        self, model: SuperResolution, ema: float, scale_gradients: bool, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        device = model.mean.device
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=0.0, betas=betas, eps=1e-8, fused=True)
        self.scaler = torch.amp.GradScaler(device.type, enabled=scale_gradients)
        self.average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=_average(ema)) if ema else None
        self.discriminator_state: DiscriminatorState | None = None
        """In the adversarial stages."""
        self.iteration = 0
        """Steps done."""
        self.best = float("-inf")
        """Highest validation PSNR so far."""
        self.psnr: float | None = None
        """The last validation's."""
        self.skipped = 0
        """Steps left out for a loss or gradient that was not finite."""
        self.overflows = 0
        """Steps left out by the gradient scaler while it looked for its scale."""
        self.images: dict[str, str] = {}
        """Fingerprints of the images that it learns from and is validated on."""
        self.losses: list[float] = []
        """Since the last row of metrics.csv."""

    @property
    def averaged(self) -> SuperResolution:
        """The network that is validated and kept."""
        return self.model if self.average is None else cast("SuperResolution", self.average.module)

    def save(self, folder: Path) -> None:
        """Write everything to the folder's ``state.pt``, atomically; the previous one is kept next to it."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        counters = {name: getattr(self, name) for name in _COUNTERS}
        network = {"network": self.model.network, "hyper": self.model.hyper}
        content = {"format": FORMAT, "random": _random_states(), "machine": machine(self.model.mean.device)}
        content["images"] = self.images
        with replacing(folder / NAME) as beside:
            try:
                torch.save(content | network | counters | parts, beside)
            except RuntimeError as error:  # raised by torch's writer on a full disk
                advice = "no room left? The state before it is untouched: make room and resume"
                raise RunError(f"cannot write {folder / NAME}: {advice}") from error
            if (folder / NAME).exists():
                os.replace(folder / NAME, folder / PREVIOUS)

    def restore(self, content: dict[str, Any]) -> list[str]:
        """Restore everything that :meth:`save` wrote and :func:`read_state` read.

        Returns:
            Differences between this machine and the one that wrote it, a line each: results may then differ.

        Raises:
            UserError: it is the state of another network.
        """
        if content["network"] != self.model.network or content["hyper"] != self.model.hyper:
            raise UserError(f"the state belongs to another network: {content['network']} {content['hyper']}")
        for name, part in self._parts().items():
            part.load_state_dict(content[name])
        for name in _COUNTERS:
            setattr(self, name, content[name])
        self.images = content.get("images", {})  # absent in states of earlier versions
        _restore_random_states(content["random"])
        now = machine(self.model.mean.device)
        return [f"{key}: {old} then, {now[key]} now" for key, old in content["machine"].items() if now[key] != old]

    def _parts(self) -> dict[str, Stateful]:
        parts: dict[str, Stateful | None] = {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler}
        # "opponent" is the key in the files of earlier runs.
        parts |= {"average": self.average, "opponent": self.discriminator_state}
        return {name: part for name, part in parts.items() if part is not None}


_COUNTERS = ("iteration", "best", "psnr", "skipped", "overflows", "losses")


def has_state(folder: Path) -> bool:
    """Whether a run in this folder has written a checkpoint."""
    return (folder / NAME).exists() or (folder / PREVIOUS).exists()


def read_state(path: Path) -> dict[str, Any]:
    """The content of a training state.

    Raises:
        UserError: the file is missing, cut short, or of another version.
    """
    if not path.is_file():
        raise UserError(f"no training state {path}: nothing to resume; start the run without --resume")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, OSError) as error:
        raise UserError(f"cannot read training state {path}: it is cut short or no training state") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is not a training state of this version (format {FORMAT})")
    return content


def machine(device: torch.device) -> dict[str, str]:
    """Properties that bitwise reproducibility depends on: versions, device, threads, instruction set."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)
    return {
        "awsrn_fast": awsrn_fast.__version__,
        "torch": str(torch.__version__),
        "device": name,
        "threads": str(torch.get_num_threads()),
        "instruction set": f"{torch.backends.cpu.get_cpu_capability()} {native.isa}",
    }


def _random_states() -> dict[str, Any]:
    # Sampling needs none, being a function of seed and iteration; this is for layers that use randomness.
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def _restore_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


def _average(decay: float):
    @torch.no_grad()
    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], steps: Any) -> None:
        # Warm-up: a constant decay would keep the random first weights for a thousand steps.
        warm = (1 + float(steps)) / (10 + float(steps))
        torch._foreach_lerp_(averaged, current, 1 - min(decay, warm))

    return update
