"""Firefox draws the page, too: not blank, and in the colours of its charts. CI does without."""

import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy
import pytest

WIDTH, HEIGHT = 1280, 3200
BLUE, CRITICAL = (0x0B, 0x65, 0xB0), (0xB3, 0x26, 0x1E)


def pixels(picture: bytes) -> numpy.ndarray:
    """Height x width x 3 of an 8-bit PNG with or without alpha."""
    width, height, depth, kind = struct.unpack(">IIBB", picture[16:26])
    assert (depth, kind in (2, 6)) == (8, True)
    channels, data, at = {2: 3, 6: 4}[kind], b"", 8
    while at < len(picture):
        length, name = struct.unpack(">I4s", picture[at : at + 8])
        data += picture[at + 8 : at + 8 + length] if name == b"IDAT" else b""
        at += 12 + length
    rows = numpy.frombuffer(zlib.decompress(data), numpy.uint8).reshape(height, 1 + width * channels)
    found = numpy.zeros((height + 1, width, channels), numpy.uint8)
    for y, (kind, line) in enumerate(zip(rows[:, 0], rows[:, 1:].reshape(height, width, channels), strict=True)):
        above = found[y]
        if kind == 0:
            found[y + 1] = line
        elif kind == 1:
            found[y + 1] = numpy.cumsum(line, axis=0, dtype=numpy.uint8)
        elif kind == 2:
            found[y + 1] = line + above
        else:
            found[y + 1] = _predicted(int(kind), line.astype(int), above.astype(int))
    return found[1:, :, :3]


def _predicted(kind: int, line: numpy.ndarray, above: numpy.ndarray) -> numpy.ndarray:
    """A line whose pixels are told from the left and the upper neighbour: their mean, or the nearer (Paeth)."""
    left, corner, found = numpy.zeros(line.shape[1], int), numpy.zeros(line.shape[1], int), numpy.zeros_like(line)
    for x, (rest, up) in enumerate(zip(line, above, strict=True)):
        if kind == 3:
            guess = (left + up) // 2
        else:
            by = numpy.abs(numpy.stack([up - corner, left - corner, left + up - 2 * corner])).argmin(axis=0)
            guess = numpy.choose(by, [left, up, corner])
        left, corner = (rest + guess) % 256, up
        found[x] = left
    return found


@pytest.mark.long
def test_firefox_draws_the_page(page: str, tmp_path: Path) -> None:
    firefox = shutil.which("firefox-esr") or shutil.which("firefox")
    if firefox is None:
        pytest.skip("no Firefox is installed")
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    picture, profile = tmp_path / "page.png", tmp_path / "profile"
    profile.mkdir()
    command = [firefox, "--headless", "--profile", profile, "--screenshot", picture, f"--window-size={WIDTH},{HEIGHT}"]
    subprocess.run([*command, (tmp_path / "report.html").as_uri()], check=True, capture_output=True, timeout=240)
    shown = pixels(picture.read_bytes())
    assert shown.shape == (HEIGHT, WIDTH, 3)
    top = shown[:1000]
    assert (top == numpy.array(CRITICAL)).all(axis=2).sum() > 100, "the verdict's icon"
    assert (shown == numpy.array(BLUE)).all(axis=2).sum() > 500, "the lines of the loss"
    colours = {tuple(colour) for colour in shown[::7, ::7].reshape(-1, 3).tolist()}
    assert len(colours) > 200, "the heatmap has colours of its own"
