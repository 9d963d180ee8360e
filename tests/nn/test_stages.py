"""What a network says of its stages is what they do: reach, and the maps whose means gates are made of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from awsrn_fast.models import AWSRN, ImprovedAWSRN, SuperResolution
from awsrn_fast.nn import Stage, pooled_gates

SIDE, CENTRE = 21, 10
NETWORKS = {
    "baseline": (AWSRN, {}),
    "improved": (ImprovedAWSRN, {}),
    "means of the residual": (ImprovedAWSRN, {"gap": "residual", "lrfu": "concat"}),
}


@pytest.fixture(params=NETWORKS)
def network(request) -> SuperResolution:
    torch.manual_seed(0)
    kind, options = NETWORKS[request.param]
    model = kind(2, channels=8, wide=16, blocks=2, units=2, kernels=(1, 3, 5), **options)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.double().eval().requires_grad_(False)


def output(stage: Stage, maps: list[Tensor], gate: Tensor | None) -> Tensor:
    y = stage.function(*maps, gate)[0]
    return y[:, :, ::2, ::2] if stage.reads_image else y


def test_every_stage_reaches_as_far_as_it_says(network: SuperResolution) -> None:
    for number, part in enumerate(network.parts()):
        for stage in part:
            if stage.non_local is not None:
                continue
            channels = 3 if number == 0 else network.channels
            maps = [torch.randn(1, channels, SIDE, SIDE, dtype=torch.float64) for _ in stage.reads]
            gate = None if stage.attention is None else torch.rand(1, len(stage.pools) * 8, dtype=torch.float64)
            if stage.reads_image:
                maps.append(torch.rand(1, 3, SIDE, SIDE, dtype=torch.float64))
            before = output(stage, maps, gate)
            for x in maps:
                x[:, :, CENTRE, CENTRE] += 1
            rows, columns = ((output(stage, maps, gate) - before).abs().amax((0, 1)) > 1e-12).nonzero().T
            assert (rows - CENTRE).abs().max() == (columns - CENTRE).abs().max() == stage.reach, (number, stage.name)


def test_gates_are_made_of_the_maps_that_are_named(network: SuperResolution) -> None:
    """Whole images with these gates give what one gate for each position gives where all positions have the same."""
    seen = []

    def everywhere(stage: Stage, maps: list[Tensor], means: list[Tensor | None]) -> Tensor:
        seen.append(stage.name)
        return pooled_gates(stage, maps, means)[..., None, None].expand(-1, -1, *maps[0].shape[2:])

    x = torch.rand(2, 3, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(network(x, gates=everywhere), network(x), rtol=1e-9, atol=1e-9)
    names = [stage.name for part in network.parts() for stage in part if stage.attention is not None]
    assert seen == names and all(network.get_submodule(name) for name in names)
