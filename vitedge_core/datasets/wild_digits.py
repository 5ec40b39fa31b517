"""Digits in the wild: real handwriting composed onto real photographs, built at run time.

Handwriting: the 1,797 samples of the UCI "Optical Recognition of Handwritten Digits" set (Alpaydin and Kaynak,
1998), as shipped by scikit-learn (`load_digits`). Photographs: the two that scikit-learn ships
(`load_sample_images`). Train and test share neither a handwriting sample nor a photo region.

A digit is placed at random place, size, slant and colour on a crop of a photograph, among fragments of other
digits. Everything is drawn from a numpy generator seeded with (seed, split, block), so that image `i` of a split is
the same wherever and in whatever order it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vitedge_core.errors import VitEdgeError
from vitedge_core.storage import data_folder, written_whole

SIZE = 48
CLASSES = tuple(str(digit) for digit in range(10))
TEST_IMAGES = 2_000
BLOCK = 250  # images that share one generator
DIFFICULTY = 0.9  # of the set as it is measured; training goes on to 1, harder than any test
VERSION = 1  # raise it when the images change, so that no stale cache is read
SPLITS = ("train", "test")
_GLYPH = 32  # side of the smoothed handwriting sample the warps read from
_TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Digits:
    """A batch of the set.

    images: [n, 3, 48, 48] uint8; labels: [n] int64; masks: [n, 48, 48] bool, true on the labelled digit.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Digits:
        """The first `count` images; the whole set when it is smaller."""
        return Digits(self.images[:count], self.labels[:count], self.masks[:count])


# What is kept must not be made in inference mode, in which the first who asks may be: training could not use it later.
_kept = torch.inference_mode(mode=False)


@cache
@_kept
def _handwriting(split: str) -> tuple[Tensor, NDArray[np.int64]]:
    """Smoothed samples [n, 1, 32, 32] in 0..1 and their labels [n]; a fixed fifth of every class is for testing."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    labels = np.asarray(bunch.target, dtype=np.int64)
    chosen: list[NDArray[np.int64]] = []
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        order = np.random.default_rng([20_260, digit]).permutation(members)
        cut = round(len(order) * _TEST_SHARE)
        chosen.append(order[:cut] if split == "test" else order[cut:])
    index = np.sort(np.concatenate(chosen))
    small = torch.from_numpy(np.asarray(bunch.images, dtype=np.float32)[index] / 16.0)[:, None]
    smooth = F.interpolate(small, size=(_GLYPH, _GLYPH), mode="bicubic", align_corners=False).clamp(0, 1)
    return smooth, labels[index]


@cache
@_kept
def _photographs(split: str) -> Tensor:
    """The split's region of both photographs, [2, 3, H, W] in 0..1: the right 30 % for testing, a gap, the rest."""
    from sklearn.datasets import load_sample_images

    photos = torch.from_numpy(np.stack(load_sample_images().images)).permute(0, 3, 1, 2).float() / 255
    width = photos.shape[-1]
    region = photos[..., int(width * 0.70) :] if split == "test" else photos[..., : int(width * 0.69)]
    return region.contiguous()


def _warp(rng: np.random.Generator, count: int, size: tuple[float, float], wild: float) -> Tensor:
    """Random affine maps from image to glyph coordinates, [count, 2, 3]; `size` is the side in share of the image."""
    side = rng.uniform(*size, count)
    aspect = np.exp(rng.uniform(-0.2, 0.2, count) * wild)
    angle = rng.uniform(-0.3, 0.3, count) * wild
    slant = rng.uniform(-0.3, 0.3, count) * wild
    room = 1 - side
    centre = rng.uniform(-1, 1, (2, count)) * room * wild
    cos, sin = np.cos(angle), np.sin(angle)
    # forward map = rotation * shear * scale; grid_sample wants the inverse
    a, b = cos * side * aspect, (cos * slant - sin) * side / aspect
    c, d = sin * side * aspect, (sin * slant + cos) * side / aspect
    determinant = a * d - b * c
    inverse = np.stack([np.stack([d, -b], -1), np.stack([-c, a], -1)], -2) / determinant[:, None, None]
    shift = -(inverse @ centre.T[:, :, None])
    return torch.from_numpy(np.concatenate([inverse, shift], -1).astype(np.float32))


def _draw(glyphs: Tensor, theta: Tensor) -> Tensor:
    """Ink of each glyph on the canvas, [n, 1, 48, 48] in 0..1."""
    grid = F.affine_grid(theta, [len(glyphs), 1, SIZE, SIZE], align_corners=False)
    return F.grid_sample(glyphs, grid, align_corners=False)


def _crops(rng: np.random.Generator, photos: Tensor, count: int) -> Tensor:
    """Random square crops of 40 to 160 pixels, scaled to the canvas, [count, 3, 48, 48]."""
    height, width = photos.shape[-2:]
    side = rng.integers(40, 161, count)
    top = (rng.random(count) * (height - side)).astype(int)
    left = (rng.random(count) * (width - side)).astype(int)
    which = rng.integers(0, len(photos), count)
    theta = np.zeros((count, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 1, 1] = side / width, side / height
    theta[:, 0, 2] = (2 * left + side) / width - 1
    theta[:, 1, 2] = (2 * top + side) / height - 1
    crops = torch.empty(count, 3, SIZE, SIZE)
    for photo in range(len(photos)):
        mine = np.flatnonzero(which == photo)
        grid = F.affine_grid(torch.from_numpy(theta[mine]), [len(mine), 3, SIZE, SIZE], align_corners=False)
        crops[mine] = F.grid_sample(photos[photo : photo + 1].expand(len(mine), -1, -1, -1), grid, align_corners=False)
    return crops


def _inks(rng: np.random.Generator, under: Tensor, contrast: float) -> Tensor:
    """A colour per image, [n, 3, 1, 1], whose brightness differs from `under` [n] by at least `contrast`."""
    count = len(under)
    colour = torch.from_numpy(rng.random((count, 3)).astype(np.float32))
    room_above = 1 - under
    up = torch.from_numpy(rng.random(count).astype(np.float32)) < room_above
    gap = contrast + torch.from_numpy(rng.random(count).astype(np.float32)) * 0.35
    target = torch.where(up, (under + gap).clamp(max=1), (under - gap).clamp(min=0))
    tinted = colour - colour.mean(1, keepdim=True)
    return (target[:, None] + 0.45 * tinted).clamp(0, 1)[:, :, None, None]


def _fragments(rng: np.random.Generator, glyphs: Tensor, count: int) -> Tensor:
    """Ink of a part of another digit, [count, 1, 48, 48]: half or less of it survives, so it is no digit."""
    pieces = glyphs[rng.integers(0, len(glyphs), count)].clone()
    edge = _GLYPH // 2
    which = rng.integers(0, 4, count)
    pieces[which == 0, :, edge:] = 0
    pieces[which == 1, :, :edge] = 0
    pieces[which == 2, :, :, edge:] = 0
    pieces[which == 3, :, :, :edge] = 0
    return _draw(pieces, _warp(rng, count, (0.3, 0.55), 1.0))


def compose(split: str, block: int, *, seed: int = 0, difficulty: float = DIFFICULTY, count: int = BLOCK) -> Digits:
    """One block of images.

    Args:
        split: "train" or "test".
        block: Which block; with seed and split it names the images.
        seed: Another seed gives another set from the same material.
        difficulty: 0 is a large centred digit on an even ground, 1 the hardest; training begins low.
        count: Images in the block.
    """
    if split not in SPLITS:
        raise VitEdgeError(f"There is no split {split!r} of the digits; there are {' and '.join(SPLITS)}.")
    rng = np.random.default_rng([seed, SPLITS.index(split), block, VERSION])
    glyphs, classes = _handwriting(split)
    chosen = rng.integers(0, len(classes), count)
    labels = torch.from_numpy(classes[chosen])
    smallest = 0.75 - 0.27 * difficulty
    ink = _draw(glyphs[chosen], _warp(rng, count, (smallest, 0.80), difficulty))

    ground = _crops(rng, _photographs(split), count)
    even = ground.mean((2, 3), keepdim=True)
    canvas = even + (ground - even) * difficulty
    for _ in range(2):
        fragment = _fragments(rng, glyphs, count)
        fragment *= torch.from_numpy((rng.random(count) < 0.6 * difficulty).astype(np.float32))[:, None, None, None]
        canvas = canvas + fragment * (_inks(rng, canvas.mean((1, 2, 3)), 0.25) - canvas)

    weight = ink.sum((1, 2, 3)).clamp_min(1e-3)
    under = (canvas.mean(1, keepdim=True) * ink).sum((1, 2, 3)) / weight
    opacity = torch.from_numpy(rng.uniform(0.8, 1.0, count).astype(np.float32))[:, None, None, None]
    canvas = canvas + ink * opacity * (_inks(rng, under, 0.55 - 0.15 * difficulty) - canvas)
    noise = torch.from_numpy(rng.standard_normal(canvas.shape, dtype=np.float32))
    canvas = (canvas + 0.02 * difficulty * noise).clamp(0, 1)
    return Digits((canvas * 255).round().to(torch.uint8), labels, ink[:, 0] > 0.35)


def _join(parts: list[Digits]) -> Digits:
    return Digits(
        torch.cat([p.images for p in parts]), torch.cat([p.labels for p in parts]), torch.cat([p.masks for p in parts])
    )


@cache
@_kept
def load(split: str = "test", count: int = TEST_IMAGES, seed: int = 0) -> Digits:
    """The first `count` images of a split as it is measured, from the cache on disk when they are there."""
    if not 1 <= count <= 100_000:
        raise VitEdgeError(f"The digits can give 1 to 100,000 images at once, not {count}.")
    path = data_folder("datasets") / f"wild_digits-v{VERSION}-{DIFFICULTY}-{split}-{count}-{seed}.npz"
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as stored:
                masks = np.unpackbits(stored["masks"], axis=-1).astype(bool)
                return Digits(
                    torch.from_numpy(stored["images"]), torch.from_numpy(stored["labels"]), torch.from_numpy(masks)
                )
        except (OSError, ValueError, KeyError):
            path.unlink(missing_ok=True)  # a damaged cache is made again below
    blocks = -(-count // BLOCK)
    digits = _join([compose(split, block, seed=seed) for block in range(blocks)]).first(count)
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            images=digits.images.numpy(),
            labels=digits.labels.numpy(),
            masks=np.packbits(digits.masks.numpy(), axis=-1),
        )
    return digits
