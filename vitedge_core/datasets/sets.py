"""Labelled images to measure on: one small interface over the bundled digits and a person's own folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vitedge_core.datasets import wild_digits
from vitedge_core.datasets.batch import Batch
from vitedge_core.errors import VitEdgeError
from vitedge_core.preprocessing import Preprocessing

DIGITS = "digits"
BATCH = 64  # images a batch holds unless told otherwise


class LabelledImages(ABC):
    """Images with labels in a fixed order of which every beginning is a fair sample.

    key: what `open_images` takes. title: for people. task: "digits", "imagenet", or "" for classes of one's own.
    digest: names the images, so that results on them can be kept. class_names: by label. skipped: files of a folder
    that are no images.
    """

    key: str
    title: str
    task: str
    digest: str
    class_names: tuple[str, ...]
    skipped: int = 0

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are."""

    @abstractmethod
    def image(self, index: int) -> Image.Image:
        """One image as it is, RGB."""

    @abstractmethod
    def label(self, index: int) -> int:
        """Its class."""

    @abstractmethod
    def batches(self, preprocessing: Preprocessing, limit: int | None = None, size: int = BATCH) -> Iterator[Batch]:
        """The first `limit` images in order, prepared for a network; an image that cannot be read is left out."""

    @abstractmethod
    def calibration(self, preprocessing: Preprocessing, count: int | None = None) -> Batch:
        """Images to calibrate on, never one of `unseen()`; `count` is 256 of the digits and 64 of a folder."""

    @abstractmethod
    def stream(self, preprocessing: Preprocessing, seed: int, size: int = BATCH) -> Iterator[Batch]:
        """Endless training batches from a seed, never with an image of `unseen()`."""

    @abstractmethod
    def unseen(self) -> LabelledImages:
        """The images that neither `calibration` nor `stream` shows to anybody."""

    @property
    def calibration_source(self) -> str:
        """Where calibration and training images come from, as part of a sentence."""
        return "the training split"


def prepare(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """uint8 [B, 3, H, W] to float [B, 3, size, size] as the network wants it; resized only if it must be."""
    pixels = images.float() / 255
    if images.shape[-1] != preprocessing.size:
        side = (preprocessing.size, preprocessing.size)
        pixels = F.interpolate(pixels, side, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    mean = torch.tensor(preprocessing.mean)[:, None, None]
    std = torch.tensor(preprocessing.std)[:, None, None]
    return (pixels - mean) / std


class DigitImages(LabelledImages):
    """The test split of the digits in the wild; calibration and training images come from its training split."""

    key = DIGITS
    title = "Digits in the wild"
    task = "digits"
    class_names = wild_digits.CLASSES

    def __init__(self) -> None:
        self.digest = f"digits-v{wild_digits.VERSION}-{wild_digits.DIFFICULTY}-0"

    def __len__(self) -> int:
        return wild_digits.TEST_IMAGES

    def _pixels(self) -> wild_digits.Digits:
        return wild_digits.load("test")

    def image(self, index: int) -> Image.Image:
        """One image, 48x48 RGB."""
        pixels = self._pixels().images[index].permute(1, 2, 0).contiguous().numpy()
        return Image.fromarray(np.asarray(pixels))

    def label(self, index: int) -> int:
        """Its digit."""
        return int(self._pixels().labels[index])

    def mask(self, index: int) -> Tensor:
        """Where its digit is, [48, 48] bool."""
        return self._pixels().masks[index]

    def batches(self, preprocessing: Preprocessing, limit: int | None = None, size: int = BATCH) -> Iterator[Batch]:
        """The first `limit` test images, in order, with their masks."""
        chosen = self._pixels().first(len(self) if limit is None else limit)
        for start in range(0, len(chosen), size):
            part = slice(start, start + size)
            yield Batch(prepare(chosen.images[part], preprocessing), chosen.labels[part], chosen.masks[part])

    def calibration(self, preprocessing: Preprocessing, count: int | None = None) -> Batch:
        """The first images of the training split."""
        chosen = wild_digits.load("train", 256).first(count or 256)
        return Batch(prepare(chosen.images, preprocessing), chosen.labels, chosen.masks)

    def stream(self, preprocessing: Preprocessing, seed: int, size: int = BATCH) -> Iterator[Batch]:
        """Freshly composed training images at full difficulty; none comes twice."""
        block = 0
        while True:
            digits = wild_digits.compose("train", block, seed=seed + 1_000, count=size)
            yield Batch(prepare(digits.images, preprocessing), digits.labels, digits.masks)
            block += 1

    def unseen(self) -> DigitImages:
        """All of it: the two splits share nothing."""
        return self


def open_images(where: str) -> LabelledImages:
    """The set of that name: "digits", or the path of a folder that holds a folder of images for each class.

    Raises:
        VitEdgeError: It is no such folder; the sentence says what is missing.
    """
    if where == DIGITS:
        return DigitImages()
    from vitedge_core.datasets.folders import open_folder

    if not where:
        raise VitEdgeError('Name a folder of class folders, or "digits" for the bundled images.')
    return open_folder(where)
