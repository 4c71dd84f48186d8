"""Resizing, and the way to tensors and back, in the browser: what Pillow and numpy make of the same
pixels, number by number."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import pytest
from chromium import Browser, browser
from numpy.typing import NDArray
from PIL import Image

from ganpress.data.decode import converted
from ganpress.web.building import STATIC
from ganpress.web.server import LOOPBACK, bound

CUBIC = Image.Resampling.BICUBIC
FIT = "return m.fit(new ImageData(bytes(v.pixels), v.width, v.height), v.size, v.channels).data"
Pair: TypeAlias = tuple[int, int]


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    """The page without models: its modules can be imported."""
    with bound(LOOPBACK, 0) as server, browser() as opened:
        server.show(STATIC)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        opened.open(server.url)
        yield opened
        server.shutdown()
        thread.join()


def in_browser(page: Browser, body: str, **values: object) -> bytes:
    """The bytes of what a function body returns, with the modules of pictures as `m`."""
    found = page.run(
        f"""(async () => {{
            const m = await import("/pictures.js"), v = {json.dumps(values)};
            const bytes = (s) => Uint8ClampedArray.from(atob(s), (c) => c.charCodeAt(0));
            const made = await (async () => {{ {body} }})();
            const flat = new Uint8Array(made.buffer, made.byteOffset, made.byteLength);
            let text = "";
            for (const b of flat) text += String.fromCharCode(b);
            return btoa(text);
        }})()"""
    )
    return base64.b64decode(found)


def coded(pixels: NDArray[np.uint8]) -> str:
    """Pixels of any channels as the RGBA of an ImageData."""
    return base64.b64encode(Image.fromarray(pixels).convert("RGBA").tobytes()).decode()


def pillows(
    pixels: NDArray[np.uint8], to: Pair, at: Pair, size: Pair, channels: int
) -> NDArray[np.uint8]:
    """Decoded to the channels, resized to (w, h), cropped at (left, top) to (h, w)."""
    seen = converted(Image.fromarray(pixels), channels)
    image = Image.fromarray(seen if channels > 1 else seen[:, :, 0])
    resized = np.asarray(image.resize(to, CUBIC)).reshape(to[1], to[0], channels)
    return resized[at[1] : at[1] + size[0], at[0] : at[0] + size[1]]


@pytest.mark.chromium
@pytest.mark.parametrize(
    ("shape", "to", "at", "size", "channels"),
    [
        ((300, 200, 3), (128, 192), (0, 32), (128, 128), 3),
        ((97, 411, 3), (271, 64), (103, 0), (64, 64), 3),
        ((50, 60, 3), (154, 128), (13, 0), (128, 128), 3),
        ((120, 90, 4), (64, 85), (0, 10), (64, 64), 4),
        ((120, 90, 4), (64, 85), (0, 10), (64, 64), 3),
        ((120, 90, 4), (64, 85), (0, 10), (64, 64), 2),
        ((300, 301, 3), (128, 128), (0, 32), (64, 128), 1),
    ],
)
def test_resizing_is_pillows(
    page: Browser,
    shape: tuple[int, int, int],
    to: Pair,
    at: Pair,
    size: Pair,
    channels: int,
) -> None:
    pixels = np.random.default_rng(shape[0]).integers(0, 256, shape, np.uint8)
    found = in_browser(page, FIT, pixels=coded(pixels), height=shape[0], width=shape[1],
                       size=size, channels=channels)  # fmt: skip
    rgba = np.frombuffer(found, np.uint8).reshape(*size, 4)
    planes = {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]
    assert np.array_equal(rgba[..., planes], pillows(pixels, to, at, size, channels))


@pytest.mark.chromium
@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 50), (45, 32)])
def test_what_has_the_size_in_one_direction_is_cropped_alone(
    page: Browser, height: int, width: int
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    found = in_browser(page, FIT, pixels=coded(pixels), height=height, width=width,
                       size=[32, 32], channels=3)  # fmt: skip
    top, left = (height - 32) // 2, (width - 32) // 2
    wanted = pixels[top : top + 32, left : left + 32]
    assert np.array_equal(np.frombuffer(found, np.uint8).reshape(32, 32, 4)[..., :3], wanted)


@pytest.mark.chromium
def test_a_png_is_decoded_to_its_own_pixels(page: Browser) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (20, 30, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    body = """const blob = new Blob([bytes(v.file)]);
              return m.pixelsOf(await m.decoded(blob)).data"""
    found = in_browser(page, body, file=base64.b64encode(file.getvalue()).decode())
    assert np.array_equal(np.frombuffer(found, np.uint8).reshape(20, 30, 4)[..., :3], pixels)


@pytest.mark.chromium
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_bytes_become_numpys_floats(page: Browser, channels: int) -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(4).reshape(16, 16, 4)
    pixels[..., 1:] = np.random.default_rng(3).permuted(pixels[..., 1:], axis=0)
    body = f"return m.toTensor(new ImageData(bytes(v.pixels), 16, 16), {channels})"
    found = in_browser(page, body, pixels=base64.b64encode(pixels.tobytes()).decode())
    planes = {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]
    wanted = pixels[..., planes].transpose(2, 0, 1).astype(np.float32) / np.float32(
        127.5
    ) - np.float32(1)
    assert np.array_equal(np.frombuffer(found, np.float32), wanted.ravel())


@pytest.mark.chromium
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_floats_become_numpys_bytes_ties_and_overshoot_too(page: Browser, channels: int) -> None:
    values = np.random.default_rng(4).uniform(-1.2, 1.2, (channels, 8, 8)).astype(np.float32)
    values.ravel()[:6] = [-1, 1, np.float32(0.5 / 127.5 - 1), np.float32(2.5 / 127.5 - 1), -3, 3]
    body = f"return m.toPixels(new Float32Array(bytes(v.values).buffer), {channels}, 64)"
    found = in_browser(page, body, values=base64.b64encode(values.tobytes()).decode())
    grey = np.rint((values + 1) * np.float32(127.5)).clip(0, 255).astype(np.uint8)
    opaque = np.full((1, 8, 8), 255, np.uint8)
    colour = grey[:3] if channels > 2 else grey[:1].repeat(3, 0)
    wanted = np.concatenate([colour, grey[-1:] if channels in (2, 4) else opaque])
    assert np.array_equal(
        np.frombuffer(found, np.uint8).reshape(8, 8, 4), wanted.transpose(1, 2, 0)
    )
