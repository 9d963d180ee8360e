"""The comparison page: what its file holds, and what it does in a browser, if there is one."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from awsrn_fast.checkpoint import save_weights
from awsrn_fast.compare.command import main as compare
from awsrn_fast.data import downscale, sample_folder
from awsrn_fast.errors import UserError
from awsrn_fast.evaluate.command import main as evaluate
from awsrn_fast.evaluate.worst import Worst
from awsrn_fast.models import create
from awsrn_fast.page import Layer, Shown, compared, write_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
NASTY = "</script><b>&\"'"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.open(sample_folder() / "valid" / "astronaut.png").crop((180, 60, 261, 127)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def weights(tmp_path: Path) -> str:
    torch.manual_seed(0)
    save_weights(tmp_path / "net.safetensors", create("awsrn-s", 2))
    return str(tmp_path / "net.safetensors")


class _Parsed(HTMLParser):
    """Tags with their attributes, and the text of the data's element."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.images: list[dict] = []
        self._inside = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id") == "data"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.images = json.loads(data)
            self._inside = False


def pixels(layer: dict) -> np.ndarray:
    data = base64.b64decode(layer["source"].removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_compare_writes_one_file_with_everything_in_it(photo, weights, tmp_path) -> None:
    assert compare([str(photo), "--hr", "-o", str(tmp_path / "c.html"), "--weights", f"{weights}={NASTY}"]) == 0
    page = _Parsed(tmp_path / "c.html")
    for tag, attributes in page.tags:
        assert tag != "link" and not {"src", "href", "srcset"} & set(attributes), tag
    text = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", text.split('id="data"')[0] + text.split("</script>")[-2])
    (image,) = page.images
    assert [layer["title"] for layer in image["layers"]] == ["input 40x33", "bicubic", NASTY, "original"]
    assert [len(layer["figures"]) for layer in image["layers"]] == [3] * 4
    assert image["columns"] == ["PSNR (dB)", "SSIM", "residual (gray levels)"]
    original = np.asarray(Image.open(photo).convert("RGB"))[:66, :80]
    np.testing.assert_array_equal(pixels(image["layers"][3]), original)
    np.testing.assert_array_equal(pixels(image["layers"][0]), downscale(original, 2))
    assert [map["title"] for map in image["maps"]] == ["error of bicubic", f"error of {NASTY}"]
    error = np.abs(pixels(image["layers"][1]).astype(int) - original).max(2)
    heat = pixels(image["maps"][0]).astype(int).sum(2)
    assert np.corrcoef(np.minimum(error, 48).ravel(), heat.ravel())[0, 1] > 0.999


def test_without_an_original_maps_show_differences(photo, weights, tmp_path) -> None:
    assert compare([str(photo), "-o", str(tmp_path / "c.html"), "--weights", weights]) == 0
    (image,) = _Parsed(tmp_path / "c.html").images
    assert image["columns"] == ["residual (gray levels)"]
    assert [map["title"] for map in image["maps"]] == ["net against bicubic"]


def test_crops_are_for_pictures(photo, weights, tmp_path) -> None:
    with pytest.raises(UserError, match="--crop is for pictures"):
        compare([str(photo), "-o", str(tmp_path / "c.html"), "--weights", weights, "--crop", "0,0,9,9"])


def test_evaluate_shows_the_worst_images_first(weights, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "Set" / "HR"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, deviation in (("easy", 3), ("hard", 60), ("medium", 20)):
        Image.fromarray((128 + deviation * rng.standard_normal((40, 40, 3))).clip(0, 255).astype(np.uint8)).save(
            folder / f"{name}.png"
        )
    monkeypatch.setattr(Worst.__init__, "__defaults__", (2,))
    page = tmp_path / "page.html"
    assert evaluate([weights, "--data", str(folder.parent), "--html", str(page)]) == 0
    assert [image["title"].split(",")[0] for image in _Parsed(page).images] == ["Set hard", "Set medium"]
    assert "The 2 images with the lowest PSNR of 3" in page.read_text(encoding="utf-8")
    with pytest.raises(UserError, match="--html shows what a network makes"):
        evaluate(["bicubic", "--scale", "2", "--data", str(folder.parent), "--html", str(page)])


@pytest.fixture
def two_images(tmp_path: Path) -> Path:
    """Black below, white above: so the divider's place shows in a screenshot."""
    black, white = np.zeros((40, 60, 3), np.uint8), np.full((40, 60, 3), 255, np.uint8)
    gray = np.full((20, 30, 3), 128, np.uint8)
    layers = (Layer("input", gray, ("",)), Layer("white", white, ("1",)), Layer("black", black, ("2",)))
    first = Shown("first", (40, 60), ("figure",), layers, (Layer("map", gray),))
    second = compared("second", gray, {"bicubic": white, "net": black}, white, 2)
    write_page(tmp_path / "page.html", "Two", [first.encoded(), second.encoded()])
    return tmp_path / "page.html"


ACTIONS = """
const found = [];
const note = (name) => found.push([name, {...state, right: at("right").selectedOptions[0].textContent,
    title: at("image").selectedOptions[0].textContent, map: at("map").selectedOptions[0].textContent}]);
const key = (key, code, shiftKey = false) =>
    dispatchEvent(new KeyboardEvent("keydown", {key, code, shiftKey, bubbles: true, cancelable: true}));
const pointer = (type, id, x, y, target = view) => {
  const box = view.getBoundingClientRect();
  const event = new PointerEvent(type, {pointerId: id, clientX: box.left + x, clientY: box.top + y, bubbles: true});
  target.dispatchEvent(event);
};
view.setPointerCapture = () => {};
note("start");
key("+"); note("plus");
key("0"); note("fit");
key("ArrowRight", "ArrowRight"); note("moved");
key("ArrowRight", "ArrowRight", true); note("divided");
key("1", "Digit1"); note("digit");
key("e", "KeyE"); note("map");
pointer("pointerdown", 1, 100, 100); pointer("pointermove", 1, 130, 90); pointer("pointerup", 1, 130, 90);
note("dragged");
pointer("pointerdown", 1, 100, 100); pointer("pointerdown", 2, 200, 100); pointer("pointermove", 2, 300, 100);
pointer("pointerup", 1, 100, 100); pointer("pointerup", 2, 300, 100); note("pinched");
pointer("pointerdown", 1, 300, 50, at("divider")); pointer("pointermove", 1, 100, 50); pointer("pointerup", 1, 100, 50);
note("divider");
view.dispatchEvent(new WheelEvent("wheel", {deltaY: -200, clientX: 50, clientY: 100, cancelable: true})); note("wheel");
key("]"); note("next");
document.body.dataset.found = JSON.stringify({found, width: view.clientWidth});
"""


def browse(page: Path, *options: str) -> str:
    command = [str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--window-size=800,700", f"--user-data-dir={page.parent / 'profile'}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@needs_browser
def test_keys_mouse_and_touch(two_images: Path) -> None:
    text = two_images.read_text(encoding="utf-8").replace("</body>", f"<script>{ACTIONS}</script></body>")
    two_images.write_text(text, encoding="utf-8")
    dumped = re.search(r'data-found="([^"]*)"', browse(two_images, "--dump-dom"))
    assert dumped, "the script stopped"
    result = json.loads(dumped[1].replace("&quot;", '"'))
    found = dict(result["found"])
    start, width = found["start"], result["width"]
    assert (start["title"], start["right"], start["map"], start["divider"]) == ("first", "black", "none", 0.5)
    assert start["zoom"] >= 8  # whole factors, as large as fits
    assert found["plus"]["zoom"] == pytest.approx(start["zoom"] * 2**0.5) and found["fit"]["zoom"] == start["zoom"]
    assert found["moved"]["x"] == start["x"] - 40
    assert found["divided"]["divider"] == pytest.approx(0.52)
    assert found["digit"]["right"] == "input" and found["map"]["map"] == "map"
    before, after = found["map"], found["dragged"]
    assert (after["x"] - before["x"], after["y"] - before["y"]) == (30, -10)
    assert found["pinched"]["zoom"] == pytest.approx(2 * start["zoom"])
    assert found["divider"]["divider"] == pytest.approx(100 / width)
    assert found["wheel"]["zoom"] > found["divider"]["zoom"]
    assert found["next"]["title"].startswith("second") and found["next"]["map"] == "error of bicubic"


@needs_browser
def test_the_layers_meet_at_the_divider(two_images: Path, tmp_path: Path) -> None:
    browse(two_images, f"--screenshot={tmp_path / 'shot.png'}")
    shot = np.asarray(Image.open(tmp_path / "shot.png").convert("L")).astype(int)
    row = shot[shot.shape[0] // 2]
    white, black = np.flatnonzero(row[15:-15] > 250) + 15, np.flatnonzero(row[15:-15] < 5) + 15
    assert len(white) > 150 and len(black) > 150
    middle = len(row) // 2
    assert abs(white[white < middle + 3].max() - middle) < 6 and abs(black.min() - middle) < 8
