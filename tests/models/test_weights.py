"""The weights in the package: they load by name, and are as good as their card says."""

from __future__ import annotations

import re

import numpy as np
import pytest

import awsrn_fast
from awsrn_fast.checkpoint import BUNDLED, bundled_names, read_header
from awsrn_fast.data import crop_to_multiple, downscale, find_images, read_rgb
from awsrn_fast.errors import UserError
from awsrn_fast.inference import Placed
from awsrn_fast.metrics import score, super_resolve


@pytest.mark.parametrize("name", bundled_names())
def test_bundled_weights_are_what_their_card_says(name: str, shared_data) -> None:
    model = awsrn_fast.load(name)
    card = (BUNDLED / f"{name}.md").read_text()
    assert name.removesuffix("-open") == f"{model.facts.variant}-x{model.scale}"
    network = Placed(model.fuse())
    psnrs = []
    for file in find_images([shared_data / "Set5"]):
        hr = crop_to_multiple(read_rgb(file), model.scale)
        psnrs.append(score(super_resolve(network, downscale(hr, model.scale)), hr, model.scale).psnr)
    claimed = float(re.search(r"\| Set5 \|.*\| ([\d.]+) / [\d.]+ \|", card)[1])
    assert np.mean(psnrs) == pytest.approx(claimed, abs=0.01)


@pytest.mark.parametrize("name", bundled_names())
def test_every_card_and_header_name_the_licence(name: str) -> None:
    assert "Licence" in (BUNDLED / f"{name}.md").read_text()
    licence = read_header(BUNDLED / f"{name}.safetensors")["training"]["licence"]
    assert ("non-commercial" in licence) != name.endswith("-open")
    assert awsrn_fast.load(name).fuse().facts.training["licence"] == licence


def test_there_are_weights_and_an_unknown_name_lists_them() -> None:
    assert "improved-s-x4" in bundled_names()
    with pytest.raises(UserError, match="no weights file improved-xl: .* one of awsrn-s-x4, improved-s-x2"):
        awsrn_fast.load("improved-xl")
