"""The two networks: the baseline AWSRN and its improved form."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from awsrn_fast import ops
from awsrn_fast.inference.array import Upscaling
from awsrn_fast.nn import (
    AWMS,
    AWRU,
    LFB,
    ChannelAttention,
    DWPWAttention,
    Gates,
    NonLocal,
    PairConv,
    Part,
    Stage,
    WNConv2d,
    pooled_gates,
    run,
)

from .facts import Facts, describe
from .inputs import check_input, warn_of_values

NOT_TRAINABLE = "a fused network does not train, most of its weights are constants: train the one it was fused from"
RGB_MEAN = (0.4488, 0.4371, 0.4040)


class SuperResolution(Upscaling):
    """Base of both networks: normalisation, skip, head convolution, body, reconstruction, and the fused form.

    The baseline's arithmetic is on 0..255, ``(x - 255 mean) / 127.5``; on [0, 1] that is ``2 (x - mean)``.
    """

    mean: Tensor
    network: str
    hyper: dict[str, Any]
    """The constructor's arguments; what is needed to build the network again."""

    def __init__(self, scale: int, channels: int, body: list[LFB], kernels: tuple[int, ...]) -> None:
        super().__init__()
        if scale not in (2, 3, 4, 8):
            raise ValueError(f"scale must be 2, 3, 4 or 8, got {scale}")
        self.scale, self.channels = scale, channels
        self.clamp = False
        self.out_dtype: torch.dtype | None = None
        self.training_facts: dict[str, Any] = {}
        """What the weights file said of their training; :attr:`facts` shows it."""
        self.checkpointing = False
        """Activation checkpointing in training: only the input of each LFB is kept, the rest is recomputed."""
        self.warned: set[str] = set()
        """Warnings that were given already, see :func:`warn_of_values`."""
        self.register_buffer("mean", torch.tensor(RGB_MEAN), persistent=False)
        self.head = nn.ModuleDict({"0": WNConv2d(3, channels, 3)})
        self.body = nn.ModuleList(body)
        self.tail = AWMS(channels, scale, kernels)
        self.skip = nn.ModuleDict({"0": WNConv2d(3, 3 * scale**2, 3)})

    @property
    def facts(self) -> Facts:
        """Facts about this network: variant, scale, sizes, receptive field; see :class:`Facts`."""
        return describe(self)

    def parts(self) -> list[Part]:
        """The network as data: head, one part for each LFB, what follows them, and the reconstruction.

        Whole images, tiles, sweeps and exported programs all run these stages; see :class:`~awsrn_fast.nn.Stage`.
        """
        body = [block.stages(f"body.{i}.") for i, block in enumerate(cast("Sequence[LFB]", self.body))]
        tail = Stage(self._tail, reach=self.tail.kernels[-1] // 2, reads_image=True)
        return [[self._head_stage()], *body, *self._fusion(), [tail]]

    def features(self, image: Tensor, gates: Gates = pooled_gates) -> Tensor:
        """``image [N, 3, H, W]``, RGB in [0, 1] -> features for the reconstruction, ``[N, C, H, W]``."""
        return self._run(self.parts()[:-1], image, gates)

    def _run(self, parts: Sequence[Part], image: Tensor, gates: Gates) -> Tensor:
        x, mean = image, None
        recompute = self.checkpointing and self.training and torch.is_grad_enabled()
        for i, part in enumerate(parts):
            if recompute and 1 <= i <= len(self.body):
                # The forward pass has no randomness, so no random state needs to be kept.
                x, mean = checkpoint(run, part, x, mean, gates, use_reentrant=False, preserve_rng_state=False)
            else:
                x, mean = run(part, x, mean, gates, image)
        return x

    def _head_stage(self) -> Stage:
        return Stage(lambda image, gate: (self.head["0"](self._normalised(image)), None), reach=1)

    def _fusion(self) -> list[Part]:
        """The parts between the LFB and the reconstruction."""
        return []

    def _tail(self, x: Tensor, image: Tensor, gate: None) -> tuple[Tensor, None]:
        options = {"out_scale": 0.5, "out_shift": self.mean, "clamp": self.clamp, "out_dtype": self.out_dtype}
        return self.tail(x, self.skip["0"](self._normalised(image)), **options), None

    def _normalised(self, image: Tensor) -> Tensor:
        return 2 * (image - self.mean[:, None, None])

    def forward(self, x: Tensor, gates: Gates = pooled_gates) -> Tensor:
        """Upscale ``x [N, 3, H, W]``, RGB in [0, 1], to ``[N, 3, scale*H, scale*W]``; not clamped unless fused so.

        ``gates`` says where gates come from; by default they are made from the means over x, as in training.

        Values far outside of [0, 1], NaN and infinity are warned of once for each network.

        Raises:
            TypeError: not a tensor, whole numbers, or another dtype than the network's.
            ValueError: not a batch of RGB images, or on another device than the network.
        """
        check_input(type(self).__name__, x, self.mean)
        warn_of_values(x, self.warned)
        return self._run(self.parts(), x, gates)

    def fuse(self, clamp: bool = False, out_dtype: torch.dtype | None = None) -> SuperResolution:
        """The inference form, a new module: weight norm folded, branches merged, no gradients.

        Args:
            clamp: limit the output to [0, 1] in the last store.
            out_dtype: ``torch.uint8`` makes it 8-bit in that store, 0 to 255 and a quarter of the bytes;
                :meth:`upscale` needs the None of floating point, since it corrects colours before it rounds.

        Outputs agree with this form within fp32 rounding (and the clamp, and 8 bits). Of a fused network it is a copy
        with this clamp and dtype. The weights may change afterwards, also by ``load_state_dict`` from either form.

        Raises:
            ValueError: another ``out_dtype``.
        """
        if out_dtype not in (None, torch.uint8):
            raise ValueError(f"fuse: out_dtype must be None or torch.uint8, got {out_dtype}")
        fused = copy.deepcopy(self)
        fused.clamp, fused.out_dtype = clamp, out_dtype
        # AWMS first: it merges its branches before they are folded one by one.
        for kind in (AWMS, AWRU, WNConv2d, PairConv):
            for module in [m for m in fused.modules() if isinstance(m, kind)]:
                module.fold()
        return fused.eval().requires_grad_(False)

    @property
    def is_fused(self) -> bool:
        """Whether :meth:`fuse` made this network."""
        return self.tail.is_folded

    def train(self, mode: bool = True) -> SuperResolution:
        """Training mode on or off, as for every :class:`torch.nn.Module`.

        Raises:
            RuntimeError: a fused network is to train.
        """
        if mode and self.is_fused:
            raise RuntimeError(NOT_TRAINABLE)
        return super().train(mode)

    def requires_grad_(self, requires_grad: bool = True) -> SuperResolution:
        """Gradients of the weights on or off, as for every :class:`torch.nn.Module`; those of the input need none.

        Raises:
            RuntimeError: a fused network is to have gradients of its weights.
        """
        if requires_grad and self.is_fused:
            raise RuntimeError(NOT_TRAINABLE)
        return super().requires_grad_(requires_grad)


class AWSRN(SuperResolution):
    """Baseline AWSRN (Wang, Li, Shi, arXiv 1904.02358); state dicts as the public code's, key for key.

    Args:
        scale: 2, 3, 4 or 8.
        channels: C, 32 (SD: 16).
        wide: channels inside a unit, 128.
        blocks: LFB: full 4, M 3, S and SD 1.
        units: AWRU of each LFB: 4 (SD: 8).
        kernels: branches of the reconstruction.
    """

    network = "awsrn"

    def __init__(
        self,
        scale: int = 4,
        channels: int = 32,
        wide: int = 128,
        blocks: int = 4,
        units: int = 4,
        kernels: tuple[int, ...] = (3, 5, 7, 9),
    ) -> None:
        super().__init__(scale, channels, [LFB(channels, wide, units) for _ in range(blocks)], kernels)
        self.hyper = {"scale": scale, "channels": channels, "wide": wide, "blocks": blocks, "units": units}
        self.hyper["kernels"] = tuple(kernels)


class ImprovedAWSRN(SuperResolution):
    """AWSRN with attention in the head, gates in every unit, hierarchical fusion and non-local feature fusion.

    Args:
        scale, channels, wide, blocks, units: as in :class:`AWSRN` (sizes full, M, S).
        kernels: branches of the reconstruction.
        gap: means for a unit's gate, of its "input" or of its "residual" (*ablate*).
        lrfu: "hierarchical", or the baseline's "concat" (*ablate*).
        block, halo: span of the non-local fusion, see :func:`awsrn_fast.ops.non_local`.
    """

    network = "improved"
    zero: Tensor
    one: Tensor

    def __init__(
        self,
        scale: int = 4,
        channels: int = 32,
        wide: int = 128,
        blocks: int = 4,
        units: int = 4,
        kernels: tuple[int, ...] = (1, 3, 5, 7, 9),
        gap: Literal["input", "residual"] = "input",
        lrfu: Literal["hierarchical", "concat"] = "hierarchical",
        block: int | None = 32,
        halo: int = 8,
    ) -> None:
        body = [LFB(channels, wide, units, gate=True, gap=gap, lrfu=lrfu) for _ in range(blocks)]
        super().__init__(scale, channels, body, kernels)
        self.attention = DWPWAttention(channels)
        self.non_local = NonLocal(channels, block, halo)
        self.channel_attention = ChannelAttention(channels, bias=False)
        # eq. 12 multiplies by the gate alone: the row gated_residual with x_scale = 0.
        self.register_buffer("zero", torch.zeros(1), persistent=False)
        self.register_buffer("one", torch.ones(1), persistent=False)
        self.hyper = {"scale": scale, "channels": channels, "wide": wide, "blocks": blocks, "units": units}
        self.hyper |= {"kernels": tuple(kernels), "gap": gap, "lrfu": lrfu, "block": block, "halo": halo}

    def _head_stage(self) -> Stage:
        return Stage(lambda image, gate: (self.attention(self.head["0"](self._normalised(image))), None), reach=2)

    def _fusion(self) -> list[Part]:
        attended = Stage(lambda x, gate: (self.non_local(x), None), non_local=self.non_local)
        gated = Stage(self._gated, (1,), 0, self.channel_attention, (1,), "channel_attention")
        return [[attended, gated]]

    def _gated(self, x: Tensor, gate: Tensor) -> tuple[Tensor, Tensor | None]:
        return (x * gate, None) if gate.dim() == 4 else ops.gated_residual(x, x, gate, self.zero, self.one)
