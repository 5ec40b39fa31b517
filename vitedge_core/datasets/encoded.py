"""Images as files hold them, and the way from there to what a network takes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor

from vitedge_core.datasets.folders import FolderImages, transform
from vitedge_core.datasets.sets import LabelledImages
from vitedge_core.preprocessing import Preprocessing


def encoded(images: LabelledImages, count: int) -> list[bytes]:
    """The first images as files: those of a folder as they lie there, others as PNG; repeated if there are too few."""
    some = min(count, len(images))
    files = [_file(images, index) for index in range(some)]
    return [files[index % some] for index in range(count)]


def decoder(preprocessing: Preprocessing) -> Callable[[Sequence[bytes]], Tensor]:
    """Decodes, resizes, crops and normalises: files to [B, 3, size, size]."""
    prepare = transform(preprocessing)

    def decode(files: Sequence[bytes]) -> Tensor:
        tensors = []
        for file in files:
            with Image.open(io.BytesIO(file)) as picture:
                tensors.append(prepare(picture.convert("RGB")))
        return torch.stack(tensors)

    return decode


def _file(images: LabelledImages, index: int) -> bytes:
    if isinstance(images, FolderImages):
        return images.path(index).read_bytes()
    file = io.BytesIO()
    images.image(index).save(file, "PNG")
    return file.getvalue()
