"""Uploads: what people and strangers send, built in memory."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.Image import Transpose

from vitedge_core.datasets.uploads import KEPT_SIDE, MAX_BYTES, as_seen, prepared, read_image
from vitedge_core.errors import VitEdgeError
from vitedge_core.preprocessing import Preprocessing


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(image: Image.Image, x: int = 0, y: int = 0) -> tuple[int, ...]:
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def png(width: int, height: int, rows: bytes = b"", depth: int = 8, kind: int = 2) -> bytes:
    """A PNG whose header claims any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data


RED = Image.new("RGB", (6, 4), (200, 30, 10))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "MPO"])
def test_usual_formats_become_rgb(kind):
    image = read_image(encoded(RED, kind), f"red.{kind}")
    assert image.mode == "RGB"
    assert image.size == (6, 4)
    assert np.abs(np.array(pixel(image, 3, 2)) - (200, 30, 10)).max() < 25


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16"])
def test_every_pixel_format_becomes_rgb(mode):
    source = Image.new("L", (5, 5), 128)
    picture = source.convert("RGB").convert(mode) if mode in {"CMYK", "YCbCr", "PA"} else source.convert(mode)
    kind = "PNG" if mode in {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"} else "TIFF"
    assert read_image(encoded(picture, kind)).mode == "RGB"


def test_exif_rotation_is_applied():
    picture = Image.new("RGB", (8, 4), "black")
    picture.paste((255, 255, 255), (0, 0, 4, 4))  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees: left becomes top
    image = read_image(encoded(picture, "JPEG", exif=exif, quality=95))
    assert image.size == (4, 8)
    assert pixel(image, 1, 1)[0] > 200 > 50 > pixel(image, 1, 6)[0]


TURNS = {
    1: None, 2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_90, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_270,
}  # fmt: skip


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_every_way_a_camera_is_held_comes_out_upright(orientation, kind):
    upright = Image.new("RGB", (24, 16), "white")
    for colour, box in (("red", (0, 0, 12, 8)), ("lime", (12, 0, 24, 8)), ("blue", (0, 8, 12, 16))):
        upright.paste(colour, box)
    turn = TURNS[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image(encoded(stored, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {})))
    assert image.size == upright.size
    assert (np.asarray(image) == np.asarray(upright)).all()


def test_twenty_megapixels_are_read_whatever_their_depth():
    ramp = np.broadcast_to(np.linspace(0, 32_767, 5_472, dtype=np.uint16), (3_656, 5_472))  # no white in it
    for data in (
        encoded(Image.fromarray((ramp >> 8).astype(np.uint8)).convert("RGB"), "JPEG"),
        encoded(Image.fromarray(ramp.copy()), "PNG", compress_level=1),
    ):
        image = read_image(data)
        assert max(image.size) <= KEPT_SIDE
        shades = np.asarray(image)[image.height // 2, :, 0].astype(int)
        assert shades[0] <= 1
        assert abs(shades[-1] - 127) <= 1
        assert abs(shades[len(shades) // 2] - 64) <= 2


def test_sixteen_bits_of_colour_and_of_grey_with_alpha_keep_their_shades():
    """PNGs of 16 bits a channel, built by hand: no library here writes them."""
    colour = deep_png(2, np.array([[[65_535, 0, 32_768]]], ">u2"))
    assert pixel(read_image(colour)) == (255, 0, 128)
    half = deep_png(4, np.array([[[0, 32_768]]], ">u2"))
    assert max(abs(value - 127) for value in pixel(read_image(half))) <= 1  # half black on white


def deep_png(kind: int, values: np.ndarray) -> bytes:
    """A PNG of 16 bits: kind 2 is colour, 4 is grey with alpha; values [height, width, channels]."""
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    return png(values.shape[1], values.shape[0], rows, depth=16, kind=kind)


def test_transparency_is_laid_on_white():
    half = Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    assert pixel(read_image(encoded(half))) == (127, 127, 127)
    clear = Image.new("P", (2, 2), 0)
    clear.putpalette([10, 20, 30, 40, 50, 60])
    assert pixel(read_image(encoded(clear, "GIF", transparency=0))) == (255, 255, 255)


def test_sixteen_bits_keep_their_shades():
    ramp = Image.fromarray(np.linspace(0, 65_535, 16, dtype=np.uint16).reshape(4, 4))
    shades = np.asarray(read_image(encoded(ramp)))[..., 0].ravel()
    assert shades[0] == 0
    assert shades[-1] == 255
    assert (np.diff(shades.astype(int)) == 17).all()


def test_floats_are_scaled_to_their_range_and_survive_nonsense():
    values = np.array([[-3.0, np.nan], [np.inf, 5.0]], np.float32)
    shades = np.asarray(read_image(encoded(Image.fromarray(values), "TIFF")))[..., 0]
    assert shades[0, 0] == 0
    assert shades[1, 1] == 255


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "lime")]
    for kind in ("GIF", "WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        red, green, blue = pixel(read_image(data))
        assert red > 240 > 20 > max(green, blue)


def test_a_large_photograph_is_scaled_down():
    image = read_image(encoded(Image.new("RGB", (5_000, 3_000), "olive"), "JPEG"))
    assert max(image.size) <= KEPT_SIDE
    assert image.size[0] / image.size[1] == pytest.approx(5 / 3, rel=0.01)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no image"),
        (b"GIF89a", "damaged|no image"),
        (b"just a text", "no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),  # would start a program
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image"),
        (b"PK\x03\x04" + bytes(40), "no image"),
        (bytes(MAX_BYTES + 1), "at most 20 MB"),
        (png(7_000, 7_000), "40 megapixels"),
        (png(60_000, 60_000), "40 megapixels"),
        (png(400, 4), "closer to a square"),
        (png(64, 64, bytes(10)), "damaged"),
        (encoded(Image.effect_noise((64, 64), 50), "JPEG")[:300], "damaged|no image"),
    ],
    ids=["empty", "gif", "text", "eps", "svg", "zip", "bytes", "pixels", "bomb", "strip", "short", "cut"],
)
def test_anything_else_is_one_sentence(data, words):
    with pytest.raises(VitEdgeError, match=words) as caught:
        read_image(data, "evil\n\x00name.png")
    assert str(caught.value).startswith("evilname.png")
    assert str(caught.value).endswith(".")


def test_what_the_network_sees_is_the_middle_of_the_image():
    picture = Image.new("RGB", (64, 32), "black")
    picture.paste((255, 0, 0), (16, 0, 48, 32))
    wants = Preprocessing(16, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    ready = prepared(picture, wants)
    assert ready.shape == (1, 3, 16, 16)
    assert np.abs(as_seen(ready, wants)[8, 8].astype(int) - (255, 0, 0)).max() <= 1


def test_an_image_of_the_right_size_is_not_resampled():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8))
    wants = Preprocessing(48, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    assert (as_seen(prepared(noise, wants), wants) == np.asarray(noise)).all()


@pytest.mark.parametrize("error", [SyntaxError, ValueError, KeyError, struct.error, MemoryError, OSError])
def test_whatever_a_decoder_raises_becomes_the_sentence(monkeypatch, error):
    def fail(image: Image.Image) -> None:
        raise error("deep inside a decoder")

    monkeypatch.setattr(ImageOps, "exif_transpose", fail)
    with pytest.raises(VitEdgeError, match=r"mine\.png is damaged"):
        read_image(encoded(RED), "mine.png")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_bytes_never_raise_anything_else(data):
    whole = bytearray(encoded(RED, data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"]))))
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=8)):
        whole[place] = value
    with contextlib.suppress(VitEdgeError):
        assert read_image(bytes(whole)).mode == "RGB"
