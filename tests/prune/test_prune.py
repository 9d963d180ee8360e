from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import awsrn_fast
from awsrn_fast.checkpoint import save_weights
from awsrn_fast.errors import UserError
from awsrn_fast.models import create
from awsrn_fast.prune.branches import contributions, without
from awsrn_fast.prune.command import main
from awsrn_fast.train.command import main as train


@pytest.fixture
def model():
    """Size S whose 1x1 and 9x9 branches hardly do anything, but have biases."""
    torch.manual_seed(0)
    model = create("awsrn-s", 2, kernels=(1, 3, 5, 9)).eval()
    with torch.no_grad():
        for k, size in ((1, 1e-3), (3, 1.0), (5, 2.0), (9, 2e-3)):
            getattr(model.tail, f"scale_k{k}").scale.fill_(size)
            getattr(model.tail, f"tail_k{k}").bias.fill_(0.1 * k)
    return model


def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        small = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8))
        (tmp_path / "images").mkdir(exist_ok=True)
        small.resize((66, 54), Image.Resampling.BICUBIC).save(tmp_path / f"images/{name}.png")
    return str(tmp_path / "images")


def test_contribution_is_the_share_of_the_mean_norm(model):
    images = [torch.rand(1, 3, 8, 9), torch.rand(1, 3, 12, 7)]
    norms = {}
    for k in (1, 3, 5, 9):
        branch, alpha = getattr(model.tail, f"tail_k{k}"), getattr(model.tail, f"scale_k{k}").scale.item()
        with torch.no_grad():
            maps = [F.conv2d(model.features(x), branch.weight(), padding=k // 2) for x in images]
        norms[k] = alpha * sum(m.square().sum().sqrt().item() for m in maps) / 2
    shares = contributions(model, images)
    assert shares == pytest.approx({k: norm / sum(norms.values()) for k, norm in norms.items()}, rel=1e-4)


def test_the_network_without_branches_is_what_is_left_and_keeps_the_mean(model):
    x = torch.rand(1, 3, 10, 12)
    pruned = without(model, contributions(model, [x]), [1, 9])
    assert pruned.tail.kernels == (3, 5) and pruned.hyper["kernels"] == (3, 5)
    with torch.no_grad():
        for k in (1, 9):  # the convolution without its bias
            getattr(model.tail, f"tail_k{k}").weight_g.fill_(0)
        torch.testing.assert_close(pruned(x), model(x), rtol=1e-5, atol=1e-6)


def test_the_command_says_what_it_saves_and_training_goes_on_from_it(model, tmp_path, capsys):
    save_weights(tmp_path / "in.safetensors", model, training={"licence": "mine"})
    out = tmp_path / "out.safetensors"
    assert main([str(tmp_path / "in.safetensors"), "-o", str(out), "--data", folder(tmp_path)]) == 0
    said = "".join(capsys.readouterr())
    assert "81 taps to 25 taps" in said and "--kernels 3 5" in said and "PSNR on 2 images" in said
    pruned = awsrn_fast.load(out)
    assert pruned.tail.kernels == (3, 5)
    assert pruned.facts.training["licence"] == "mine" and pruned.facts.training["pruned"]["removed_kernels"] == [1, 9]
    options = ["--variant", "awsrn-s", "--scale", "2", "--init", str(out), "--data", folder(tmp_path), "--valid"]
    options += [folder(tmp_path), "--iterations", "1", "--curriculum", "false", "--patch", "8", "--batch", "1"]
    options += ["--out", str(tmp_path / "run"), "--dtype", "float32"]
    with pytest.raises(UserError, match="--kernels 3 5"):
        train(options)
    assert train([*options, "--kernels", "3", "5"]) == 0
    assert awsrn_fast.load(tmp_path / "run/last.safetensors").tail.kernels == (3, 5)


def test_losing_a_smaller_branch_saves_no_work_and_is_said(model, tmp_path, capsys):
    with torch.no_grad():
        model.tail.scale_k9.scale.fill_(1)
    save_weights(tmp_path / "in.safetensors", model)
    out = tmp_path / "out.safetensors"
    assert main([str(tmp_path / "in.safetensors"), "-o", str(out), "--data", folder(tmp_path)]) == 0
    assert "work: as before" in capsys.readouterr().out
    assert awsrn_fast.load(out).tail.kernels == (3, 5, 9)
    assert main([str(out), "-o", str(tmp_path / "none.safetensors"), "--data", folder(tmp_path)]) == 0
    assert "no branch is below" in capsys.readouterr().err and not (tmp_path / "none.safetensors").exists()


def test_the_strongest_branch_stays(model, tmp_path):
    save_weights(tmp_path / "in.safetensors", model)
    arguments = [str(tmp_path / "in.safetensors"), "-o", str(tmp_path / "out.safetensors")]
    assert main([*arguments, "--data", folder(tmp_path), "--below", "1"]) == 0
    assert len(awsrn_fast.load(tmp_path / "out.safetensors").tail.kernels) == 1


def test_wrong_usage(tmp_path):
    with pytest.raises(UserError, match=r"\.safetensors"):
        main(["improved-s-x4", "-o", str(tmp_path / "out.pth")])
    with pytest.raises(UserError, match="--below: must be 0 to 1, got 5"):
        main(["improved-s-x4", "-o", str(tmp_path / "out.safetensors"), "--below", "5"])
