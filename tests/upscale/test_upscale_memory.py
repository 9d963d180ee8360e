"""Large files from file to file, in memory that does not grow with them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import awsrn_fast
from awsrn_fast import images
from awsrn_fast.checkpoint import save_weights
from awsrn_fast.inference.process_memory import OVERHEAD, fitting_tile
from awsrn_fast.inference.wrappers import exact_context
from awsrn_fast.models import AWSRN, ImprovedAWSRN, create
from awsrn_fast.upscale.command import main

ALONE = {"PYTHONPATH": str(Path(awsrn_fast.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def small_improved(path: Path) -> Path:
    """Weights of a network with every part, and work of which a test can do much."""
    torch.manual_seed(0)
    model = ImprovedAWSRN(2, channels=4, wide=8, blocks=1, units=2, kernels=(1, 3), block=16, halo=4)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    save_weights(path, model)
    return path


def blobs(path: Path, height: int, width: int) -> None:
    cells = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    Image.fromarray(cells.repeat(8, 0).repeat(8, 1)).save(path)


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_image(tmp_path) -> None:
    weights = small_improved(tmp_path / "w.safetensors")
    for height in (4000, 16000):
        blobs(tmp_path / f"{height}.png", height, 512)
    for stats in ("frozen", "exact"):
        peaks = []
        for height in (4000, 16000):
            command = [sys.executable, "-m", "awsrn_fast.upscale", f"{height}.png", "-o", f"{stats}-{height}.png"]
            command += ["--weights", weights.name, "--memory-limit", "400MB", "--stats", stats, "--device", "cpu"]
            done = subprocess.run(command, cwd=tmp_path, env=ALONE, capture_output=True, text=True, check=True)
            peaks.append(int(re.search(r"peak memory (\d+) MB", done.stderr)[1]))
        assert peaks[1] < 1.1 * peaks[0] and max(peaks) <= 400, peaks
    frozen, exact = (np.asarray(Image.open(tmp_path / f"{stats}-4000.png")) for stats in ("frozen", "exact"))
    assert frozen.shape == (8000, 1024, 3)
    assert np.abs(frozen.astype(int) - exact).max() <= 1


@pytest.fixture(scope="module")
def baseline(tmp_path_factory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_weights(path, AWSRN(2, channels=8, wide=16, blocks=1, units=2))
    return str(path)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("planes", [1, 2, 3, 4])
def test_strips_of_every_kind_of_image_equal_the_whole(tmp_path, baseline, planes: int, depth: int) -> None:
    values = np.random.default_rng(planes).random((300, 45, planes), np.float32)
    alpha = None
    if planes in (2, 4):  # a visible part, a hidden part, an edge between
        alpha = np.clip(np.linspace(-1, 2, 45, dtype=np.float32)[None].repeat(300, 0), 0, 1)
        values = values[..., :-1]
    samples = images.WORDS if depth == 16 else images.BYTES
    images.write(tmp_path / "in.png", images.Picture(values, alpha, samples=samples))
    for name, tile in (("whole.png", "0"), ("tiles.png", "24")):
        arguments = [str(tmp_path / "in.png"), "-o", str(tmp_path / name), "--tile", tile]
        assert main([*arguments, "--weights", baseline, "--device", "cpu"]) == 0
    whole, tiles = (images.read(tmp_path / name) for name in ("whole.png", "tiles.png"))
    visible = True if alpha is None else (whole.alpha > 0.02)[..., None]
    assert np.abs((whole.color - tiles.color) * visible).max() * 255 <= 1.001
    if alpha is not None:
        assert np.abs(whole.alpha - tiles.alpha).max() * 255 <= 1.001


@pytest.mark.parametrize("variant", ["improved-s", "improved-full", "awsrn-s"])
@pytest.mark.parametrize("size", [(64, 64), (2000, 3000), (20000, 512), (512, 20000), (20000, 20000)])
@pytest.mark.parametrize("megabytes", [250, 1000, 8000])
def test_the_tile_that_is_chosen_fits_and_is_not_wasteful(variant: str, size: tuple[int, int], megabytes: int) -> None:
    facts = create(variant, 4).facts
    room = megabytes * 2**20
    try:
        tile = fitting_tile(facts, size, 3, room)
    except awsrn_fast.errors.RunError:
        assert megabytes == 250 and max(size) > 1000  # the strips of wide images alone take more
        return
    if tile is None:
        assert size[0] * size[1] * facts.activations < room
        return
    context = exact_context(facts)
    seen = [min(side, own + 2 * context) for side, own in zip(size, tile, strict=True)]
    strip = size[1] * (24 * seen[0] + 24 * 16 * tile[0])
    assert OVERHEAD + strip + seen[0] * seen[1] * facts.activations <= room
    assert all(own % (facts.block or 1) == 0 or own >= side for own, side in zip(tile, size, strict=True))
    if megabytes == 8000 and max(size) < 5000:
        assert tile[0] * tile[1] > 0.3 * seen[0] * seen[1]


@pytest.mark.slow
def test_the_limit_holds_for_the_bundled_network(tmp_path) -> None:
    """Its maps are of sizes whose freed memory malloc keeps; that counts, too."""
    blobs(tmp_path / "in.png", 320, 320)
    command = [sys.executable, "-m", "awsrn_fast.upscale", "in.png", "-o", "out.png", "--weights", "improved-s-x4"]
    command += ["--memory-limit", "560MB", "--device", "cpu"]
    done = subprocess.run(command, cwd=tmp_path, env=ALONE, capture_output=True, text=True, check=True)
    assert "gates frozen" in done.stderr  # in tiles, that is
    assert int(re.search(r"peak memory (\d+) MB", done.stderr)[1]) <= 560, done.stderr


def test_the_memory_taken_is_what_was_predicted() -> None:
    """Of the network at work, measured in a process of its own."""
    code = (
        "import torch, awsrn_fast, sys\n"
        "from awsrn_fast.inference import Placed\n"
        "from awsrn_fast.inference.process_memory import peak\n"
        "placed = Placed(awsrn_fast.load('improved-s-x4').fuse())\n"
        "placed(torch.rand(1, 3, 32, 32))\n"
        "before = peak()\n"
        "placed(torch.rand(1, 3, 256, 320))\n"
        "print(peak() - before)\n"
    )
    ballast = np.ones(2**29, np.uint8)  # what the parent holds must not count
    done = subprocess.run([sys.executable, "-c", code], env=ALONE, capture_output=True, text=True, check=True)
    activations = create("improved-s", 4).facts.activations
    del ballast
    assert 0.4 * 256 * 320 * activations < int(done.stdout) < OVERHEAD + 256 * 320 * activations
