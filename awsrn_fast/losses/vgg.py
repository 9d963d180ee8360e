"""VGG19 features for the perceptual loss, from a local file of torchvision's weights."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from awsrn_fast.errors import UserError

FILE_NAME = "vgg19-dcbb9e9d.pth"
SHA256 = "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44"
"""SHA-256 of torchvision's ``VGG19_Weights.IMAGENET1K_V1``; its first eight digits are in the file's name."""

SOURCE = (
    f"torchvision's VGG19_Weights.IMAGENET1K_V1, {FILE_NAME} (SHA-256 {SHA256}), "
    f"from https://download.pytorch.org/models/{FILE_NAME}"
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_WIDTHS = (64, 128, 256, 512, 512)
_COUNTS = (2, 2, 4, 4, 4)


def _indices() -> Iterator[tuple[str, int]]:
    index = 0
    for block, count in enumerate(_COUNTS, start=1):
        for number in range(1, count + 1):
            yield f"conv{block}_{number}", index
            index += 2  # each convolution is followed by its ReLU
        index += 1  # and each block by its pooling


LAYERS: dict[str, int] = dict(_indices())
"""Convolutions from conv1_1 to conv5_4 and their N in the file's ``features.N.weight``."""


class VGG19Features(nn.Module):
    """Outputs of VGG19's convolutions before their ReLU; frozen, gradients flow to the input alone.

    Args:
        path: torchvision's VGG19 state dict, as saved by ``torch.save``; the classifier in it is not used.
        layers: names such as "conv5_4"; the network is built as deep as the deepest of them.

    Raises:
        UserError: a layer that VGG19 does not have; a file that is missing, truncated or something else.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, path: str | os.PathLike, layers: Iterable[str]) -> None:
        super().__init__()
        self.layers = frozenset(layers)
        check_layers(self.layers)
        deepest = max(LAYERS[name] for name in self.layers)
        state = _read(Path(path))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)
        self.convolutions = nn.ModuleDict()
        channels = 3
        for name in [name for name, index in LAYERS.items() if index <= deepest]:
            width = _WIDTHS[_block(name) - 1]
            self.convolutions[name] = nn.utils.skip_init(nn.Conv2d, channels, width, 3, padding=1)
            channels = width
        try:
            for name, convolution in self.convolutions.items():
                _fill(convolution, state, LAYERS[name])
        except ValueError as error:
            raise UserError(f"{path} does not hold VGG19: {error}; take {SOURCE}") from error
        self.requires_grad_(False).eval()

    @property
    def smallest(self) -> int:
        """Smallest side of an image, in pixels, that reaches the deepest layer."""
        return 2 ** (max(_block(name) for name in self.layers) - 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Features of ``x [N, 3, H, W]``, RGB in [0, 1].

        Returns:
            layer -> ``[N, C, H / 2^k, W / 2^k]``, with k poolings before it; in the order of the network.

        Raises:
            ValueError: not a batch of RGB images, or one too small for the deepest layer.
        """
        if x.dim() != 4 or x.shape[1] != 3 or min(x.shape[2:]) < self.smallest:
            raise ValueError(
                f"VGG19Features: x must be RGB [N, 3, H, W], sides >= {self.smallest}, got {list(x.shape)}"
            )
        features = {}
        x = (x - self.mean) / self.std
        for name, convolution in self.convolutions.items():
            if name != "conv1_1":
                x = F.relu(x)
                if name.endswith("_1"):
                    x = F.max_pool2d(x, 2)
            x = convolution(x)
            if name in self.layers:
                features[name] = x
        return features


def check_layers(layers: Iterable[str]) -> None:
    """Raise UserError unless ``layers`` names at least one convolution of VGG19, and nothing else."""
    names = list(layers)
    unknown = [name for name in names if name not in LAYERS]
    if unknown or not names:
        what = f"no layer {unknown[0]!r} in VGG19" if unknown else "no layer of VGG19 given"
        raise UserError(f"{what}: use names from conv1_1 to conv5_4, such as {', '.join(list(LAYERS)[-4:])}")


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a weights file in hexadecimal; :data:`SHA256` if it is torchvision's.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while part := file.read(1 << 20):
                digest.update(part)
    except OSError as error:
        raise _unreadable(Path(path), error) from error
    return digest.hexdigest()


def _unreadable(path: Path, error: OSError) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"no VGG19 weights {path}: take {SOURCE}")
    return UserError(f"cannot read VGG19 weights {path}: {error.strerror or error}; take {SOURCE}")


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise _unreadable(path, error) from error
    except (
        pickle.UnpicklingError,
        EOFError,
        RuntimeError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
    ) as error:
        # Not torch's own message, which recommends weights_only=False, which lets the file run code.
        raise UserError(
            f"cannot read VGG19 weights {path}: cut short, or not a file of tensors alone; take {SOURCE}"
        ) from error
    if not isinstance(state, Mapping):
        raise UserError(f"{path} does not hold VGG19: not a state dict; take {SOURCE}")
    return state


def _fill(convolution: nn.Module, state: Mapping[str, Tensor], index: int) -> None:
    for part in ("weight", "bias"):
        own = convolution.get_parameter(part)
        name = f"features.{index}.{part}"
        tensor = state.get(name)
        if not isinstance(tensor, Tensor):
            raise ValueError(f"it has no {name}")
        if tensor.shape != own.shape:
            raise ValueError(f"{name} is {list(tensor.shape)}, not {list(own.shape)}")
        with torch.no_grad():
            own.copy_(tensor)


def _block(layer: str) -> int:
    return int(layer[len("conv")])
