"""One optimiser step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from awsrn_fast.config import Config

from .distributed import World, lost_peer
from .schedule import learning_rate
from .state import Learner


class Step:
    """Stage P: one step on the L1 loss.

    Args:
        config: learning rate, clipping, memory format.
        learner: what is changed.
        dtype: of the autocast; float32: none.
        world: the processes that share a batch; gradients are averaged over them.
    """

    def __init__(self, config: Config, learner: Learner, dtype: torch.dtype, world: World) -> None:
        self.config, self.learner, self.dtype, self.world = config, learner, dtype, world
        self.device = learner.model.mean.device
        network = learner.model
        if world.size > 1:
            network = DistributedDataParallel(network, broadcast_buffers=False)
        self.network = torch.compile(network) if config.compile else network

    def __call__(self, lr_image: Tensor, hr_image: Tensor) -> Tensor | None:
        """Learn from one batch.

        Args:
            lr_image: ``[B, 3, P, P]``, hr_image: ``[B, 3, s*P, s*P]``, this process's share, in [0, 1].

        Returns:
            The loss of this process's share, detached; None if loss or gradient was not finite in any process: then
            nothing was changed.
        """
        learner = self.learner
        for group in learner.optimizer.param_groups:
            group["lr"] = learning_rate(learner.iteration, self.config)
        learner.iteration += 1
        learner.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(lr_image, hr_image)
        with torch.profiler.record_function("backward"), lost_peer():
            learner.scaler.scale(loss).backward()
        return loss.detach() if self._update(loss) else None

    def loss(self, lr_image: Tensor, hr_image: Tensor) -> Tensor:
        """Mean absolute error of the network's output, in fp32."""
        with torch.profiler.record_function("forward"):
            if self.config.channels_last:
                lr_image = lr_image.contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                output = self.network(lr_image)
            output = output if output.dtype == torch.float64 else output.float()
            return F.l1_loss(output, hr_image.to(output.dtype))

    def _update(self, loss: Tensor) -> bool:
        """Change the weights; False, and nothing changed, if loss or gradient is not finite."""
        learner = self.learner
        with torch.profiler.record_function("update"):
            learner.scaler.unscale_(learner.optimizer)
            limit = self.config.clip or float("inf")
            norm = torch.nn.utils.clip_grad_norm_(learner.model.parameters(), limit)
            # With scaled gradients an infinite norm is the scaler's own affair: it skips the step and scales less.
            finite = torch.isfinite(loss if learner.scaler.is_enabled() else loss + norm)
            if any(self.world.any(not finite.item())):
                learner.scaler.update()
                return False
            before = learner.scaler.get_scale()
            learner.scaler.step(learner.optimizer)
            learner.scaler.update()
            learner.overflows += learner.scaler.get_scale() < before
            if learner.average is not None:
                learner.average.update_parameters(learner.model)
        return True
