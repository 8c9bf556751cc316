"""The HTML page in a real browser, at desktop and phone widths, light and dark (`make test-browser`).

The marker `browser` keeps these tests out of the ordinary run, where no browser is promised; a missing browser is an
error here, not a skipped test.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from report_samples import bad_report, good_report, with_findings

pytestmark = pytest.mark.browser

SIZES = {"desktop": (1280, 2400), "phone": (390, 2400)}
MEASURE = """<script>
const wide = [...document.querySelectorAll('h1,h2,h3,p,dd,dt,figure,svg.bars,.tile,.chip')].filter(e => {
  const box = e.getBoundingClientRect();
  return !e.closest('.scroll,.frame') && (box.right > innerWidth + 1 || box.left < -1);
}).map(e => e.tagName + '.' + e.className);
document.title = JSON.stringify([document.documentElement.scrollWidth, innerWidth, wide]);
</script></body>"""


def browser() -> str:
    named = os.environ.get("ANY2ONNX_BROWSER", "")
    for name in (named, "chromium", "chromium-browser", "google-chrome", "chrome"):
        if name and (found := shutil.which(name)):
            return found
    raise FileNotFoundError("no Chromium found: install it, or name it in ANY2ONNX_BROWSER")


def run(*arguments: str) -> str:
    done = subprocess.run(
        [browser(), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


def pixels(path: Path) -> np.ndarray:
    """Decode an 8-bit PNG to [height, width, 3]."""
    data = path.read_bytes()
    at, chunks, head = 8, b"", b""
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        head, chunks = (body, chunks) if kind == b"IHDR" else (head, chunks + (body if kind == b"IDAT" else b""))
        at += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", head[:10])
    assert depth == 8
    channels = {2: 3, 6: 4}[colour]
    raw = np.frombuffer(zlib.decompress(chunks), np.uint8).reshape(height, 1 + width * channels)
    lines = np.zeros((height + 1, width, channels), np.uint8)
    for y in range(height):
        line = raw[y, 1:].reshape(width, channels)
        above = lines[y]
        if raw[y, 0] == 1:
            line = np.add.accumulate(line, axis=0, dtype=np.uint8)
        elif raw[y, 0] == 2:
            line = line + above
        elif raw[y, 0] in (3, 4):
            line = _by_neighbours(line, above, average=raw[y, 0] == 3)
        lines[y + 1] = line
    return lines[1:, :, :3]


def _by_neighbours(line: np.ndarray, above: np.ndarray, *, average: bool) -> np.ndarray:
    found = np.zeros(line.shape, np.int64)
    left, corner = np.zeros(line.shape[1], np.int64), np.zeros(line.shape[1], np.int64)
    for x in range(len(line)):
        up = above[x].astype(np.int64)
        if average:
            guess = (left + up) // 2
        else:
            base = left + up - corner
            a, b, c = abs(base - left), abs(base - up), abs(base - corner)
            guess = np.where((a <= b) & (a <= c), left, np.where(b <= c, up, corner))
        found[x] = (line[x] + guess) & 255
        left, corner = found[x], up
    return found.astype(np.uint8)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    found = {"good": good_report(), "bad": with_findings(bad_report())}
    return {
        name: Path(report.to_html(folder / f"{name}.html") and folder / f"{name}.html")
        for name, report in found.items()
    }


@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("name", ["good", "bad"])
def test_nothing_sticks_out(pages, name, size, tmp_path):
    page = tmp_path / "page.html"
    text = pages[name].read_text(encoding="utf-8").replace("</body>", MEASURE).replace("<details>", "<details open>")
    page.write_text(text, encoding="utf-8")
    width, height = SIZES[size]
    dom = run(f"--window-size={width},{height}", "--dump-dom", page.as_uri())
    found = re.search(r"<title>\[(\d+),(\d+),(.*)\]</title>", dom)
    assert found, dom[:300]
    needed, shown, wide = int(found[1]), int(found[2]), found[3]
    assert shown <= max(width, 500)
    assert needed <= shown
    assert wide == "[]"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("name", ["good", "bad"])
def test_screenshot(pages, name, size, scheme, tmp_path):
    target = Path(os.environ.get("ANY2ONNX_SCREENSHOTS", tmp_path)) / f"{name}-{size}-{scheme}.png"
    width, height = SIZES[size]
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    run(f"--screenshot={target}", f"--window-size={width},{height}", *dark, pages[name].as_uri())
    image = pixels(target).astype(int)
    assert image.shape == (height, width, 3)
    ground = image[2, 2]
    assert (ground.sum() < 150) == (scheme == "dark")
    # Text, cards and lines: much of the first screen differs from the ground.
    top = image[: height // 3]
    assert (np.abs(top - ground).sum(axis=2) > 40).mean() > 0.04 or scheme == "light"
    assert len(np.unique(top.reshape(-1, 3), axis=0)) > 50
    red = (image[..., 0] > 150) & (image[..., 0] > image[..., 1:].max(axis=2) + 90)
    green = (image[..., 1] > image[..., 0] + 40) & (image[..., 1] > image[..., 2] + 20)
    assert green.any()
    assert red.mean() > 0.0005 if name == "bad" else red.mean() < 0.0005
