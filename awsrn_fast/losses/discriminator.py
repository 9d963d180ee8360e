"""The discriminator of the adversarial loss."""

from __future__ import annotations

from torch import Tensor, nn

PATCH = 192
"""Side of its input patches, HR pixels."""

_WIDTHS = (64, 128, 256, 512, 512)
_SLOPE = 0.2


class Discriminator(nn.Module):
    """VGG-style: pairs of 3x3 convolutions, 64 to 512 channels, the second of each halving the map: 192 -> 6; then
    fully connected, 1024 -> 1.

    BatchNorm takes its statistics from the batch at hand, always, and keeps no running ones: the discriminator is never
    used outside of training, real and upscaled patches have different statistics, and a step that is skipped then
    leaves nothing behind.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in _WIDTHS:
            layers += _unit(channels, width, stride=1, norm=channels != 3) + _unit(width, width, stride=2)
            channels = width
        self.features = nn.Sequential(*layers)
        side = PATCH // 2 ** len(_WIDTHS)
        self.classifier = nn.Sequential(
            nn.Linear(channels * side * side, 1024), nn.LeakyReLU(_SLOPE, inplace=True), nn.Linear(1024, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, 1]`` that ``x [N, 3, 192, 192]``, RGB in [0, 1], are photographs.

        Raises:
            ValueError: another size.
        """
        if x.dim() != 4 or x.shape[1:] != (3, PATCH, PATCH):
            raise ValueError(f"Discriminator: x must be [N, 3, {PATCH}, {PATCH}], got {list(x.shape)}")
        return self.classifier(self.features(2 * x - 1).flatten(1))


def _unit(channels: int, width: int, stride: int, norm: bool = True) -> list[nn.Module]:
    # The convolution needs no bias where BatchNorm takes the mean out again.
    convolution = nn.Conv2d(channels, width, 3, stride, padding=1, bias=not norm)
    activation = nn.LeakyReLU(_SLOPE, inplace=True)
    return (
        [convolution, nn.BatchNorm2d(width, track_running_stats=False), activation]
        if norm
        else [convolution, activation]
    )
