"""One image from a stranger: any usual picture becomes an upright RGB image, anything else one sentence."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from vitedge_core.errors import VitEdgeError
from vitedge_core.preprocessing import Preprocessing

MAX_BYTES = 20_000_000
MAX_PIXELS = 40_000_000
MAX_ASPECT = 20  # longer side to shorter side: a network's square crop of more would hold almost nothing
KEPT_SIDE = 2_048  # no network here sees more; a photograph of 40 megapixels would hold 120 MB otherwise
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000")  # none that starts a program
EXTENSIONS = ("jpg", "jpeg", "png", "gif", "webp", "bmp", "tif", "tiff", "avif", "jp2")
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def read_image(data: bytes, name: str = "The file") -> Image.Image:
    """The picture in these bytes: RGB, upright, the first frame, on white where it is transparent.

    Args:
        data: A JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF or JPEG 2000 file.
        name: What to call it in an error.

    Returns:
        An image in mode RGB whose longer side has at most 2,048 pixels.

    Raises:
        VitEdgeError: It is too large, a narrow strip, damaged, or no image.
    """
    name = _short(name)
    if len(data) > MAX_BYTES:
        raise VitEdgeError(f"{name} has {len(data) / 1e6:.1f} MB; an image may have at most {MAX_BYTES // 10**6} MB.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size, name)
            return _upright_rgb(image)
    except UnidentifiedImageError as error:
        raise VitEdgeError(
            f"{name} is no image that can be read; use a JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF file."
        ) from error
    except Image.DecompressionBombError as error:
        raise VitEdgeError(f"{name} has too many pixels; scale it to at most 40 megapixels.") from error
    except VitEdgeError:
        raise
    except Exception as error:  # a decoder fed with damaged bytes may raise anything
        raise VitEdgeError(f"{name} is damaged or of an unusual kind; open it elsewhere and save it as PNG.") from error


def prepared(image: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """The image as the network wants it, [1, 3, size, size]: scaled, cropped in the middle, normalised by timm."""
    from timm.data.transforms_factory import create_transform

    transform = create_transform(
        (3, preprocessing.size, preprocessing.size), is_training=False, mean=preprocessing.mean,
        std=preprocessing.std, crop_pct=preprocessing.crop, interpolation=preprocessing.interpolation,
    )  # fmt: skip
    return transform(image)[None]  # type: ignore[operator]


def as_seen(prepared: Tensor, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """What is left of the image after `prepared`, [size, size, 3], to lay a map over."""
    pixels = prepared[0].permute(1, 2, 0).numpy() * preprocessing.std + preprocessing.mean
    return (pixels * 255).round().clip(0, 255).astype(np.uint8)


def _short(name: str) -> str:
    """A name fit for a sentence, whatever the sender called the file."""
    plain = "".join(letter for letter in name if letter.isprintable()).strip() or "The file"
    return plain if len(plain) <= 60 else plain[:57] + "..."


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if max(size) > MAX_ASPECT * min(size):
        raise VitEdgeError(
            f"{name} is a strip of {width:,} x {height:,} pixels; crop it to something closer to a square."
        )
    if width * height > MAX_PIXELS:
        raise VitEdgeError(
            f"{name} has {width:,} x {height:,} pixels; scale it to at most {MAX_PIXELS // 10**6} megapixels."
        )


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.draft("RGB", (KEPT_SIDE, KEPT_SIDE))  # a JPEG decodes several times faster at a fraction of its size
    image.seek(0)
    image.load()
    turned = ImageOps.exif_transpose(image)
    rgb = _rgb(turned)
    rgb.thumbnail((KEPT_SIDE, KEPT_SIDE))
    return rgb


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP:
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Greyscale of 16 or 32 bits or of floats, as 8 bits: by its bit depth, and by its own range where it has none."""
    whole_numbers = image.mode.startswith("I")
    if (times := max(image.size) // KEPT_SIDE) > 1:  # nobody sees more, and 20 megapixels of floats take seconds
        image = image.convert("F").reduce(times)
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    if whole_numbers and values.min() >= 0 and values.max() <= 65_535:
        low, high = 0.0, 65_535.0
    else:
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low or 1.0) * 255
    return Image.fromarray(scaled.round().astype(np.uint8))
