"""Drawings for training: line art, pages of text and user interfaces, from free fonts and random strokes.

Photographs hold few thin, sharp, flat-coloured edges, and a network trained on photographs alone puts halos and dots
around letters and lines. These pictures add them. Each is a pure function of seed and index and is drawn at three times
its size and shrunk, so that its edges are antialiased as a renderer's are.

    python training/drawings.py --out drawings --count 80 --fonts /usr/share/fonts

Fonts are any folder of .ttf and .otf files (Debian's fonts-dejavu-core, fonts-liberation, fonts-noto-core,
fonts-roboto, fonts-ebgaramond, fonts-comic-neue, fonts-inconsolata and, for icons, fonts-font-awesome and
fonts-materialdesignicons-webfont, all under free licences, were used).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 640
"""Side of a picture in pixels."""
OVER = 3
"""Supersampling: pictures are drawn this many times larger and shrunk by area."""
UNIT = 5
"""Canvas pixels of the unit that sizes below are given in: small letters must survive being shrunk by four."""
ICON_FONTS = ("fontawesome", "materialdesignicons")
TEXT = (
    "the of and image resolution super network light surface energy river copper window signal angle winter garden "
    "morning between however station Amsterdam Kyoto Nairobi paper theory sample layer kernel vector quickly bright "
    "seven measure pixel contrast village engine market silver northern Figure Table Chapter 1948 3.14 0.25 42% x4 (a) "
    "Save Open Cancel Settings Export File Edit View Help Search Layers Preview Name Size Modified Total Status OK"
)
WORDS = TEXT.split()

Colour = tuple[int, int, int]


class Page:
    """A picture in the making: a canvas, its pen and its random numbers.

    Args:
        rng: the only source of randomness.
        fonts: paths of text fonts, not empty.
        icons: paths of icon fonts; without any, shapes stand in for icons.
        background: colour of the empty page.
    """

    def __init__(self, rng: np.random.Generator, fonts: list[Path], icons: list[Path], background: Colour) -> None:
        self.rng, self.fonts, self.icons = rng, fonts, icons
        self.size = SIDE * OVER
        self.canvas = Image.new("RGB", (self.size, self.size), background)
        self.pen = ImageDraw.Draw(self.canvas)

    def finished(self) -> Image.Image:
        """The picture at its final size, [SIDE, SIDE] RGB."""
        return self.canvas.reduce(OVER)

    def font(self, size: float, path: Path | None = None) -> ImageFont.FreeTypeFont:
        """A font of ``size`` units."""
        path = path or self.fonts[self.rng.integers(len(self.fonts))]
        return ImageFont.truetype(str(path), round(size * UNIT))

    def colour(self, low: int = 0, high: int = 255) -> Colour:
        """A random colour with channels from ``low`` to ``high``."""
        return tuple(int(v) for v in self.rng.integers(low, high + 1, 3))

    def words(self, count: int) -> str:
        """Random words."""
        return " ".join(self.rng.choice(WORDS, count))

    def text(self, x: float, y: float, text: str, font: ImageFont.FreeTypeFont, fill: Colour) -> None:
        """A line of text with its upper left corner at (x, y), in canvas pixels."""
        self.pen.text((x, y), text, font=font, fill=fill)

    def stroke(self, points: np.ndarray, width: np.ndarray, fill: Colour) -> None:
        """A line through points [N, 2] whose width [N] changes along it, as a brush's or a nib's does."""
        for (x0, y0), (x1, y1), w in zip(points[:-1], points[1:], width[:-1], strict=True):
            self.pen.line((x0, y0, x1, y1), fill=fill, width=max(1, round(w)))
            r = w / 2
            self.pen.ellipse((x1 - r, y1 - r, x1 + r, y1 + r), fill=fill)

    def curve(self, spread: float, count: int = 60) -> np.ndarray:
        """A random cubic Bezier curve, points [count, 2], whose control points lie within ``spread`` of a centre."""
        centre = self.rng.uniform(0, self.size, 2)
        control = centre + self.rng.normal(0, spread, (4, 2))
        t = np.linspace(0, 1, count)[:, None]
        weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
        return weights @ control

    def icon(self, x: float, y: float, size: float, fill: Colour) -> None:
        """A glyph of an icon font, or a shape, in a square of ``size`` canvas pixels."""
        if self.icons:
            path = self.icons[self.rng.integers(len(self.icons))]
            first, last = (0xF000, 0xF2E0) if "fontawesome" in path.name.lower() else (0xF0100, 0xF1500)
            font = ImageFont.truetype(str(path), round(size))
            self.pen.text((x, y), chr(int(self.rng.integers(first, last))), font=font, fill=fill)
        else:
            self.pen.rounded_rectangle((x, y, x + size, y + size), radius=size / 5, outline=fill, width=2 * UNIT)


def line_art(page: Page) -> None:
    """Ink: strokes of changing width, filled outlines, hatching, dots of a screen tone, lettering."""
    rng, size = page.rng, page.size
    ink = page.colour(0, 60)
    for _ in range(rng.integers(4, 12)):  # flat areas with an outline
        outline = page.curve(size / 7)
        fill = page.colour(90) if rng.random() < 0.6 else (255, 255, 255)
        page.pen.polygon([tuple(p) for p in outline], fill=fill)
        page.stroke(np.vstack([outline, outline[:1]]), np.full(61, rng.uniform(1, 4) * UNIT), ink)
    for _ in range(rng.integers(40, 140)):
        points = page.curve(rng.uniform(size / 40, size / 5))
        peak = rng.uniform(0.7, 5) * UNIT
        page.stroke(points, peak * (0.25 + np.sin(np.linspace(0, np.pi, len(points)))), ink)
    for _ in range(rng.integers(2, 7)):  # hatching
        x, y = rng.uniform(0, size * 0.8, 2)
        step, width = rng.uniform(2.5, 8) * UNIT, rng.uniform(0.6, 1.6) * UNIT
        angle, length = rng.uniform(0, np.pi), rng.uniform(size / 12, size / 5)
        along = np.array([np.cos(angle), np.sin(angle)]) * length
        across = np.array([-np.sin(angle), np.cos(angle)]) * step
        for k in range(int(length / step)):
            a = np.array([x, y]) + across * k
            page.pen.line((*a, *(a + along)), fill=ink, width=max(1, round(width)))
    for _ in range(rng.integers(1, 4)):  # screen tone
        x, y = rng.uniform(0, size * 0.75, 2)
        pitch = rng.uniform(3, 9) * UNIT
        r = pitch * rng.uniform(0.15, 0.4)
        for i in range(int(size / 5 / pitch)):
            for j in range(int(size / 5 / pitch)):
                cx, cy = x + (i + 0.5 * (j % 2)) * pitch, y + j * pitch
                page.pen.ellipse((cx - r, cy - r, cx + r, cy + r), fill=ink)
    for _ in range(rng.integers(1, 4)):  # a balloon with lettering
        x, y = rng.uniform(0, size * 0.7, 2)
        font = page.font(rng.uniform(11, 26))
        lines = [page.words(rng.integers(1, 4)) for _ in range(rng.integers(1, 4))]
        step = font.size * 1.15
        width = max(font.getlength(line) for line in lines)
        box = (x - step, y - step, x + width + step, y + step * (len(lines) + 1))
        page.pen.ellipse(box, fill=(255, 255, 255), outline=ink, width=2 * UNIT)
        for k, line in enumerate(lines):
            page.text(x, y + k * step, line, font, ink)


def text(page: Page) -> None:
    """A page of text: columns in one font each, headings, numbers, dark on light or light on dark."""
    rng, size = page.rng, page.size
    dark = np.mean(page.canvas.getpixel((0, 0))) < 128
    y = 0.0
    while y < size:
        columns = int(rng.integers(1, 4))
        font = page.font(rng.choice([7, 8, 9, 10, 11, 12, 13, 14, 16, 18, 22, 28, 40, 64]))
        fill = page.colour(170, 255) if dark else page.colour(0, 110)
        step = font.size * rng.uniform(1.1, 1.6)
        width = size / columns
        rows = int(rng.integers(1, 9))
        for column in range(columns):
            for row in range(rows):
                line, x = page.words(2), column * width + 6 * UNIT
                while font.getlength(line) < width * rng.uniform(0.75, 0.95):
                    line += " " + page.words(1)
                clip = Image.new("RGB", (round(width) - 8 * UNIT, round(step) + 1), page.canvas.getpixel((0, 0)))
                ImageDraw.Draw(clip).text((0, 0), line, font=font, fill=fill)
                page.canvas.paste(clip, (round(x), round(y + row * step)))
        y += rows * step + rng.uniform(4, 20) * UNIT


def interface(page: Page) -> None:
    """Windows with title bars, icons, buttons, tables and charts, one over the other."""
    rng, size = page.rng, page.size
    for _ in range(rng.integers(4, 9)):
        x, y = rng.uniform(-0.1, 0.7, 2) * size
        w, h = rng.uniform(0.3, 0.7, 2) * size
        dark = rng.random() < 0.4
        base, front = (
            (page.colour(15, 60), page.colour(190, 255)) if dark else (page.colour(225, 255), page.colour(0, 90))
        )
        accent, bar = page.colour(20, 230), rng.uniform(18, 32) * UNIT
        page.pen.rounded_rectangle(
            (x, y, x + w, y + h), rng.uniform(0, 10) * UNIT, fill=base, outline=front, width=UNIT
        )
        page.pen.rectangle((x + UNIT, y + UNIT, x + w - UNIT, y + bar), fill=accent)
        page.text(x + 8 * UNIT, y + bar * 0.2, page.words(3), page.font(rng.uniform(9, 15)), front)
        body = (x + 8 * UNIT, y + bar + 8 * UNIT, x + w - 8 * UNIT, y + h - 8 * UNIT)
        rng.choice([_toolbar, _table, _chart])(page, body, front, accent)


def _toolbar(page: Page, box: tuple[float, ...], front: Colour, accent: Colour) -> None:
    """Rows of icons and of buttons with labels."""
    rng = page.rng
    x, y, right, bottom = box
    side = rng.uniform(12, 30) * UNIT
    while y + side < bottom:
        as_buttons, at = rng.random() < 0.4, x
        font = page.font(side / UNIT * 0.55)
        while at + side < right:
            if as_buttons:
                label = page.words(1)
                width = font.getlength(label) + side
                page.pen.rounded_rectangle(
                    (at, y, at + width, y + side), side / 5, fill=accent, outline=front, width=UNIT
                )
                page.text(at + side / 2, y + side * 0.18, label, font, front)
                at += width + side / 3
            else:
                page.icon(at, y, side, front if rng.random() < 0.7 else accent)
                at += side * 1.5
        y += side * 1.5


def _table(page: Page, box: tuple[float, ...], front: Colour, accent: Colour) -> None:
    """A grid with a word or a number in each cell."""
    rng = page.rng
    x, y, right, bottom = box
    step, columns = rng.uniform(14, 24) * UNIT, int(rng.integers(2, 6))
    font = page.font(step / UNIT * 0.6)
    width = (right - x) / columns
    for row in range(int((bottom - y) / step)):
        top = y + row * step
        if row % 2 and rng.random() < 0.8:
            page.pen.rectangle((x, top, right, top + step), fill=accent)
        for column in range(columns):
            word = page.words(1) if column == 0 else f"{rng.uniform(0, 1000):.{rng.integers(0, 3)}f}"
            page.text(x + column * width + 3 * UNIT, top + step * 0.15, word, font, front)
            page.pen.line((x + column * width, top, x + column * width, top + step), fill=front, width=UNIT)
        page.pen.line((x, top, right, top), fill=front, width=UNIT)


def _chart(page: Page, box: tuple[float, ...], front: Colour, accent: Colour) -> None:
    """Axes, a grid, bars or curves."""
    rng = page.rng
    x, y, right, bottom = box
    count = int(rng.integers(5, 16))
    step = (right - x) / count
    font = page.font(rng.uniform(7, 10))
    for k in range(6):
        level = bottom - (bottom - y) * k / 6
        page.pen.line((x, level, right, level), fill=front, width=UNIT // 2 or 1)
        page.text(x, level, f"{k * 20}", font, front)
    if rng.random() < 0.5:
        for k in range(count):
            top = bottom - (bottom - y) * rng.uniform(0.05, 0.95)
            page.pen.rectangle(
                (x + k * step, top, x + (k + 0.7) * step, bottom), fill=accent, outline=front, width=UNIT
            )
    for _ in range(rng.integers(1, 4)):
        values = np.clip(np.cumsum(rng.normal(0, 0.12, count)) + 0.5, 0, 1)
        points = [(x + k * step, bottom - (bottom - y) * float(v)) for k, v in enumerate(values)]
        page.pen.line(points, fill=page.colour(), width=round(rng.uniform(1, 3) * UNIT), joint="curve")
    page.pen.line((x, y, x, bottom, right, bottom), fill=front, width=2 * UNIT)


KINDS: tuple[Callable[[Page], None], ...] = (line_art, text, interface)


def draw(seed: int, index: int, fonts: list[Path], icons: list[Path]) -> Image.Image:
    """Picture ``index`` of a seed, RGB [SIDE, SIDE]; kinds take turns."""
    rng = np.random.default_rng([seed, index])
    light = rng.random() < 0.7
    background = tuple(int(v) for v in (rng.integers(235, 256, 3) if light else rng.integers(0, 50, 3)))
    kind = KINDS[index % len(KINDS)]
    if kind is line_art:
        background = (255, 255, 255)
    page = Page(rng, fonts, icons, background)
    kind(page)
    picture = page.finished()
    return picture.convert("L").convert("RGB") if kind is line_art and rng.random() < 0.5 else picture


def find_fonts(folder: Path) -> tuple[list[Path], list[Path]]:
    """Text fonts that hold the Latin alphabet, and icon fonts, below a folder, in the order of their names."""
    files = sorted(path for suffix in ("*.ttf", "*.otf") for path in folder.rglob(suffix))
    icons = [path for path in files if any(name in path.name.lower() for name in ICON_FONTS)]
    return [path for path in files if path not in icons and _is_latin(path)], icons


def _is_latin(path: Path) -> bool:
    try:
        font = ImageFont.truetype(str(path), 20)
    except OSError:
        return False
    blank = bytes(font.getmask("\U0010ffff"))  # the glyph that stands in for missing ones
    return all(bytes(font.getmask(letter)) != blank for letter in "aeRx4")


def main() -> int:
    """Draw the pictures as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures, PNG")
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"), help="folder of .ttf and .otf files")
    options = parser.parse_args()
    fonts, icons = find_fonts(options.fonts)
    if not fonts:
        print(f"no text font with Latin letters below {options.fonts}: name another folder by --fonts", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    for index in range(options.count):
        draw(options.seed, index, fonts, icons).save(
            options.out / f"{KINDS[index % len(KINDS)].__name__}_{index:04d}.png"
        )
    print(
        f"{options.count} drawings of {SIDE}x{SIDE} pixels in {options.out}: {len(fonts)} fonts, {len(icons)} of icons"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
