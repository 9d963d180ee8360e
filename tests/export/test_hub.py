from __future__ import annotations

import pytest
import torch

import awsrn_fast
from awsrn_fast.errors import UserError
from awsrn_fast.models import create

pytest.importorskip("huggingface_hub")

from awsrn_fast.hub import WEIGHTS, HubAWSRN, HubImprovedAWSRN


def test_saved_and_loaded_again_is_the_same_network(tmp_path) -> None:
    torch.manual_seed(0)
    model = create("improved-s", 2, block=None, lrfu="concat").eval()
    HubImprovedAWSRN.of(model).save_pretrained(tmp_path)
    again = HubImprovedAWSRN.from_pretrained(tmp_path)
    assert isinstance(again, awsrn_fast.ImprovedAWSRN) and again.hyper == model.hyper and not again.training
    x = torch.rand(1, 3, 9, 8)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
        assert torch.equal(again.fuse()(x), model.fuse()(x))
        assert torch.equal(awsrn_fast.load(tmp_path / WEIGHTS)(x), model(x))
    card = (tmp_path / "README.md").read_text()
    assert "library_name: awsrn_fast" in card and "super-resolution" in card


def test_a_network_of_one_s_own_is_saved_with_its_sizes(tmp_path) -> None:
    HubAWSRN(scale=2, channels=8, wide=16, blocks=1, units=2).save_pretrained(tmp_path)
    assert HubAWSRN.from_pretrained(tmp_path).hyper["wide"] == 16
    with pytest.raises(UserError, match="the weights are of the network 'awsrn', HubImprovedAWSRN is 'improved'"):
        HubImprovedAWSRN.from_pretrained(tmp_path)
