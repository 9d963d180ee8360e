"""spandrel's loader, with the plugin installed, reads our weights and gives our pixels."""

from __future__ import annotations

import importlib.util
import json
import sys
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest
import torch

import awsrn_fast
from awsrn_fast import spandrel as plugin
from awsrn_fast.checkpoint import BUNDLED, bundled_names, save_weights
from awsrn_fast.errors import UserError
from awsrn_fast.export.command import main
from awsrn_fast.models import create


@pytest.fixture(scope="module")
def spandrel() -> ModuleType:
    """The library. Two of its other networks import two functions of torchvision, whose wheels for CUDA cannot be
    imported beside a CPU build of torch: they get a place-holder then."""
    if importlib.util.find_spec("spandrel") is None or importlib.util.find_spec("einops") is None:
        pytest.skip("spandrel is not installed: pip install --no-deps spandrel einops")
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
        modules = {name: ModuleType(name) for name in names}
        for function in ("InterpolationMode", "rotate", "normalize"):
            setattr(modules[names[-1]], function, None)
        with pytest.MonkeyPatch.context() as patch:
            for name, module in modules.items():
                patch.setitem(sys.modules, name, module)
            import spandrel
    else:
        import spandrel
    plugin.install()
    return spandrel


@pytest.mark.parametrize("name", bundled_names())
def test_every_bundled_file_gives_our_pixels(spandrel: ModuleType, name: str) -> None:
    loaded = spandrel.ModelLoader().load_from_file(BUNDLED / f"{name}.safetensors")
    ours = awsrn_fast.load(name).fuse()
    assert (loaded.scale, loaded.input_channels, loaded.output_channels) == (ours.scale, 3, 3)
    assert loaded.architecture.name == plugin.ARCHITECTURES[ours.network] and loaded.purpose == "SR"
    assert loaded.tags == [ours.facts.variant]
    x = torch.rand(1, 3, 13, 18, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(x), ours.upscale(x).clamp(0, 1))


@pytest.mark.parametrize("variant", ["awsrn-full", "awsrn-sd", "improved-m"])
def test_other_sizes_and_the_public_codes_files(spandrel: ModuleType, variant: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create(variant, 3).eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "x3.pth")
    save_weights(tmp_path / "x3.safetensors", model)
    x = torch.rand(1, 3, 8, 9)
    for file in ("x3.pth", "x3.safetensors"):
        loaded = spandrel.ModelLoader().load_from_file(tmp_path / file)
        assert loaded.scale == 3
        torch.testing.assert_close(loaded(x), model.fuse().upscale(x).clamp(0, 1))


def test_installing_twice_changes_nothing_and_others_are_still_found(spandrel: ModuleType) -> None:
    before = [support.architecture.id for support in spandrel.MAIN_REGISTRY]
    plugin.install()
    assert [support.architecture.id for support in spandrel.MAIN_REGISTRY] == before
    own = spandrel.ArchRegistry()
    plugin.install(own)
    assert len(own) == 2
    assert plugin.network_of({"model.0.weight": torch.zeros(3)}) is None and plugin.network_of({}) is None


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)  # importing it raises ModuleNotFoundError
    with pytest.raises(UserError, match="spandrel is not installed: pip install spandrel"):
        plugin.install()


@pytest.mark.parametrize("name", bundled_names())
def test_the_record_of_a_file_is_the_files(name: str, tmp_path: Path) -> None:
    assert main([name, "-o", str(tmp_path / "record.json")]) == 0
    made = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    file, facts = BUNDLED / f"{name}.safetensors", awsrn_fast.load(name).facts
    (resource,) = made["resources"]
    assert resource["sha256"] == sha256(file.read_bytes()).hexdigest() and resource["size"] == file.stat().st_size
    assert (made["name"], made["scale"], made["inputChannels"]) == (name, facts.scale, 3)
    assert made["trainingIterations"] == facts.training["iteration"] and "photographs" in made["dataset"]
    assert f"{facts.parameters:,}" in made["description"] and "rained on" in made["description"]
