"""Exported networks give the same picture as the network, in other people's programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import awsrn_fast
from awsrn_fast.checkpoint import bundled_names, read_header, save_weights
from awsrn_fast.errors import UserError
from awsrn_fast.export.attention import BlockNonLocal, GlobalNonLocal
from awsrn_fast.export.command import main
from awsrn_fast.models import create
from awsrn_fast.nn import NonLocal

SIZES = [(1, 1), (47, 61), (48, 48), (129, 97)]
LEVEL = 0.01 / 255


def network(name: str) -> nn.Module:
    """A network whose every part matters: no gate and no scale has its special start."""
    variant, _, span = name.partition(" ")
    torch.manual_seed(0)
    options = {"block": None} if span == "global" else {}
    model = create(variant, 3 if span == "global" else 2, **options)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model.eval()


def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(1, 3, *size, generator=generator) for size in SIZES]


@pytest.fixture(scope="module", params=["improved-s block", "improved-s global"])
def exported(request, tmp_path_factory):
    """Folder with net.safetensors, net.onnx and net.pt2, and what the network itself makes of the images."""
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("export")
    model = network(request.param)
    save_weights(folder / "net.safetensors", model)
    for suffix in (".onnx", ".pt2"):
        assert main([str(folder / "net.safetensors"), "-o", str(folder / f"net{suffix}")]) == 0
    fused = model.fuse(clamp=True)
    with torch.no_grad():
        return folder, [fused(x) for x in images()]


def test_onnx_runtime_gives_the_same(exported) -> None:
    folder, expected = exported
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(folder / "net.onnx", providers=["CPUExecutionProvider"])
    for x, y in zip(images(), expected, strict=True):
        np.testing.assert_allclose(session.run(["upscaled"], {"image": x.numpy()})[0], y, rtol=0, atol=LEVEL)
    assert "awsrn_fast.input" in session.get_modelmeta().custom_metadata_map


def test_openvino_gives_the_same(exported) -> None:
    folder, expected = exported
    openvino = pytest.importorskip("openvino")
    compiled = openvino.compile_model(folder / "net.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for x, y in zip(images(), expected, strict=True):
        np.testing.assert_allclose(compiled({"image": x.numpy()})[0], y, rtol=0, atol=LEVEL)


def test_the_graph_is_valid_onnx_of_free_size(exported) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(exported[0] / "net.onnx")
    onnx.checker.check_model(graph, full_check=True)
    sides = graph.graph.input[0].type.tensor_type.shape.dim
    assert [side.dim_param for side in sides][2:] == ["height", "width"] and sides[1].dim_value == 3
    assert {node.domain for node in graph.graph.node} == {""}, "only standard operators"


def test_pt2_runs_in_a_python_without_this_package(exported) -> None:
    folder, expected = exported
    torch.save(images(), folder / "in.pt")
    code = (
        "import sys, torch\n"
        "network = torch.export.load('net.pt2').module()\n"
        "torch.save([network(x).detach() for x in torch.load('in.pt')], 'out.pt')\n"
        "assert not any(name.startswith('awsrn_fast') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, check=True)
    for y, wanted in zip(torch.load(folder / "out.pt"), expected, strict=True):
        torch.testing.assert_close(y, wanted, rtol=0, atol=LEVEL)


def test_safetensors_are_rebuilt_by_a_fresh_python(tmp_path) -> None:
    model = network("improved-s global")
    torch.save(model.state_dict(), tmp_path / "net.pth")
    hinted = tmp_path / "hinted.safetensors"
    save_weights(hinted, model, training={"licence": "CC0"})
    out = tmp_path / "out.safetensors"
    assert main([str(hinted), "-o", str(out)]) == 0
    code = (
        "import torch, awsrn_fast\n"
        "model = awsrn_fast.load('out.safetensors')\n"
        "assert model.facts.block is None and model.facts.scale == 3\n"
        "torch.save(model(torch.full((1, 3, 9, 7), 0.25)).detach(), 'out.pt')\n"
    )
    root = Path(awsrn_fast.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    with torch.no_grad():
        assert torch.equal(torch.load(tmp_path / "out.pt"), model(torch.full((1, 3, 9, 7), 0.25)))
    assert read_header(out)["training"] == {"licence": "CC0"}
    assert main([str(tmp_path / "net.pth"), "-o", str(tmp_path / "half.safetensors"), "--half"]) == 0
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * out.stat().st_size


def test_bundled_weights_keep_the_licence_of_their_data(tmp_path) -> None:
    assert main(["improved-s-x4", "-o", str(tmp_path / "net.safetensors"), "--half"]) == 0
    assert "non-commercial" in awsrn_fast.load(tmp_path / "net.safetensors").facts.training["licence"]


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (8, 9), (13, 21), (16, 4)])
@pytest.mark.parametrize(("form", "block"), [(BlockNonLocal, 5), (GlobalNonLocal, None)])
def test_attention_of_unknown_size_equals_the_layer(form: type, block: int | None, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = NonLocal(6, block=block, halo=2)
    nn.init.normal_(layer.z.weight)
    x = torch.randn(1, 6, *size)
    torch.testing.assert_close(form(layer)(x), layer(x), rtol=1e-5, atol=1e-5)


def test_the_network_and_its_training_form_stay_as_they_are(tmp_path) -> None:
    model = network("improved-s block")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    awsrn_fast.export.torch_program(model)
    assert isinstance(model.non_local, NonLocal)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_wrong_usage(tmp_path) -> None:
    name = bundled_names()[0]
    (tmp_path / "there.onnx").write_text("mine")
    cases = [
        (["gone.pth", "-o", tmp_path / "a.onnx"], "no weights file gone.pth"),
        ([name, "-o", tmp_path / "a.bin"], "the suffix must be one of .onnx, .pt2, .safetensors"),
        ([name, "-o", tmp_path / "there.onnx"], "exists: give --overwrite"),
        ([name, "-o", tmp_path / "a.onnx", "--half"], "--half is for .safetensors"),
    ]
    for arguments, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            main([*map(str, arguments)])
        assert caught.value.status == 2
    assert [p.name for p in tmp_path.iterdir()] == ["there.onnx"] and (tmp_path / "there.onnx").read_text() == "mine"
