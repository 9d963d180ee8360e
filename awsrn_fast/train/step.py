"""One optimiser step."""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from awsrn_fast.config import Config

from .distributed import World, lost_peer
from .schedule import learning_rate
from .state import Learner

_MODES = {"default": "default", "graphs": "reduce-overhead"}


class Step:
    """Stage P: one step on the L1 loss.

    Args:
        config: learning rate, clipping, memory format.
        learner: the training state that is updated.
        dtype: autocast dtype; float32: no autocast.
        world: the processes that share a batch; gradients are averaged over them.
    """

    columns: tuple[str, ...] = ()
    """Names of the figures that a step records besides the loss."""

    def __init__(self, config: Config, learner: Learner, dtype: torch.dtype, world: World) -> None:
        self.config, self.learner, self.dtype, self.world = config, learner, dtype, world
        self.optimizers = [(learner.optimizer, config)]
        """Each with the configuration that holds its learning rate."""
        self.device = learner.model.mean.device
        network: torch.nn.Module = learner.model
        if world.size > 1:
            # Its buffers are constants.
            network = DistributedDataParallel(network, broadcast_buffers=False)
        self.network = network if config.compile == "none" else torch.compile(network, mode=_MODES[config.compile])

    def __call__(self, lr_image: Tensor, hr_image: Tensor) -> Tensor | None:
        """Learn from one batch.

        Args:
            lr_image: ``[B, 3, P, P]``, hr_image: ``[B, 3, s*P, s*P]``, this process's share, in [0, 1].

        Returns:
            The loss of this process's share, detached; None if loss or gradient was not finite in any process: then
            nothing was changed.
        """
        learner = self.learner
        for optimizer, schedule in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(learner.iteration, schedule)
            optimizer.zero_grad(set_to_none=True)
        learner.iteration += 1
        with lost_peer():
            losses = self.gradients(lr_image, hr_image)
        return losses[0] if self._update(losses) else None

    def figures(self) -> dict[str, float]:
        """Means of the recorded figures over the steps since the last call; empty if there were none."""
        return {}

    def gradients(self, lr_image: Tensor, hr_image: Tensor) -> list[Tensor]:
        """Compute the gradients; returns the losses, detached, the network's first."""
        loss = self.loss(lr_image, hr_image)
        self.backward(loss)
        return [loss.detach()]

    def backward(self, loss: Tensor) -> None:
        """Backward pass of a loss, with gradient scaling where the dtype needs it."""
        with torch.profiler.record_function("backward"):
            self.learner.scaler.scale(loss).backward()

    def loss(self, lr_image: Tensor, hr_image: Tensor) -> Tensor:
        """Mean absolute error of the network's output, in fp32."""
        output = self.output(lr_image)
        return F.l1_loss(output, hr_image.to(output.dtype))

    def output(self, lr_image: Tensor) -> Tensor:
        """The network's output, in fp32 or wider."""
        with torch.profiler.record_function("forward"):
            if self.config.channels_last:
                lr_image = lr_image.contiguous(memory_format=torch.channels_last)
            with self.autocast():
                output = self.network(lr_image)
            return output if output.dtype == torch.float64 else output.float()

    def autocast(self) -> torch.autocast:
        """The context that computes in the run's dtype."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _update(self, losses: list[Tensor]) -> bool:
        """Update the weights; returns False, with nothing changed, if loss or gradient is not finite."""
        learner = self.learner
        with torch.profiler.record_function("update"):
            limit = self.config.clip or float("inf")
            norms = []
            for optimizer, _ in self.optimizers:
                learner.scaler.unscale_(optimizer)
                weights = [weight for group in optimizer.param_groups for weight in group["params"]]
                norms.append(torch.nn.utils.clip_grad_norm_(weights, limit))
            # With gradient scaling an infinite norm is left to the scaler, which skips the step and lowers the scale.
            finite = torch.isfinite(reduce(torch.add, losses if learner.scaler.is_enabled() else losses + norms))
            if any(self.world.any(not finite.item())):
                learner.scaler.update()
                return False
            before = learner.scaler.get_scale()
            for optimizer, _ in self.optimizers:
                learner.scaler.step(optimizer)
            learner.scaler.update()
            learner.overflows += learner.scaler.get_scale() < before
            if learner.average is not None:
                learner.average.update_parameters(learner.model)
        return True
