"""A folder that holds a folder of images for each class, read as torchvision's ImageFolder reads it.

Class folders named after WordNet ids ("n01440764") are taken as ImageNet classes: the index of a class is its rank
among the 1,000 sorted ids of ImageNet-1k. Links inside the folder are not followed, so nothing outside is read.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vitedge_core.datasets.batch import Batch
from vitedge_core.datasets.sets import BATCH, LabelledImages
from vitedge_core.datasets.wild_digits import CLASSES as DIGIT_CLASSES
from vitedge_core.errors import VitEdgeError
from vitedge_core.preprocessing import Preprocessing

_WNID = re.compile(r"n\d{8}")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"RIFF", b"II*\x00", b"MM\x00*")
_UNREADABLE = (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError)
_CALIBRATION = 64
_READERS = 2  # threads that decode; PIL lets go of the interpreter while it does


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    label: int


class FolderImages(LabelledImages):
    """Images of a folder in a fixed shuffled order.

    Calibration and training take their images from the second half of that order, `unseen` is the first half.
    """

    def __init__(self, where: Path, entries: Sequence[_Entry], names: tuple[str, ...], task: str, digest: str) -> None:
        self.key = str(where)
        self.title = f"the folder {where.name}"
        self.task = task
        self.digest = digest
        self.class_names = names
        self._where = where
        self._entries = tuple(entries)
        self._part = ""  # "" is the whole folder

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def calibration_source(self) -> str:
        """Where calibration and training images come from."""
        return "the second half of the folder's shuffled images"

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self._entries[index].path

    def image(self, index: int) -> Image.Image:
        """One image as it is, RGB.

        Raises:
            VitEdgeError: The file is damaged or gone.
        """
        path = self._entries[index].path
        try:
            return _read(path)
        except _UNREADABLE as error:
            raise VitEdgeError(f"{path.name} cannot be read as an image; it is damaged, too large, or gone.") from error

    def label(self, index: int) -> int:
        """Its class."""
        return self._entries[index].label

    def _batches(
        self, entries: Sequence[_Entry], prepare: Callable[[Image.Image], Tensor], size: int
    ) -> Iterator[Batch]:
        def tensor(entry: _Entry) -> Tensor | None:
            try:
                return prepare(_read(entry.path))
            except _UNREADABLE:
                return None

        with ThreadPoolExecutor(_READERS) as readers:
            for start in range(0, len(entries), size):
                part = entries[start : start + size]
                read = [(t, e.label) for t, e in zip(readers.map(tensor, part), part, strict=True) if t is not None]
                if read:
                    yield Batch(torch.stack([t for t, _ in read]), torch.tensor([label for _, label in read]))

    def batches(self, preprocessing: Preprocessing, limit: int | None = None, size: int = BATCH) -> Iterator[Batch]:
        """The first `limit` images through timm's evaluation transform; damaged files are left out."""
        return self._batches(self._entries[:limit], transform(preprocessing), size)

    def _second_half(self) -> tuple[_Entry, ...]:
        later = self._entries[len(self._entries) // 2 :]
        if self._part:
            raise VitEdgeError("The unseen half of a folder has no calibration images; take them from the whole.")
        return later

    def calibration(self, preprocessing: Preprocessing, count: int | None = None) -> Batch:
        """The first images of the second half."""
        wanted = self._second_half()[: count or _CALIBRATION]
        parts = list(self._batches(wanted, transform(preprocessing), len(wanted)))
        if not parts:
            raise VitEdgeError(f"No image in {self.title} could be read; calibration needs some.")
        return parts[0]

    def stream(self, preprocessing: Preprocessing, seed: int, size: int = BATCH) -> Iterator[Batch]:
        """The second half again and again, newly shuffled each time, without augmentation."""
        entries, prepare = self._second_half(), transform(preprocessing)
        rng = np.random.default_rng([seed, 1])
        while True:
            shuffled = [entries[i] for i in rng.permutation(len(entries))]
            found = False
            for batch in self._batches(shuffled, prepare, size):
                found = True
                yield batch
            if not found:
                raise VitEdgeError(f"No image in {self.title} could be read; training needs some.")

    def unseen(self) -> FolderImages:
        """The first half of the order."""
        half = self._entries[: len(self._entries) // 2]
        if not half:
            raise VitEdgeError(f"{self.title} holds a single image; calibration and testing need one each at least.")
        part = FolderImages(self._where, half, self.class_names, self.task, f"{self.digest}-first-half")
        part.skipped, part._part = self.skipped, "first half"
        part.title = f"{self.title}, first half"
        return part


def _read(path: Path) -> Image.Image:
    """The picture in RGB; of an animation the first frame. EXIF rotation is ignored, as ImageNet's convention is."""
    with Image.open(path) as picture:
        return picture.convert("RGB")


def transform(preprocessing: Preprocessing) -> Callable[[Image.Image], Tensor]:
    """From a picture to what a network takes, as timm evaluates it: [3, size, size]."""
    from timm.data.transforms_factory import create_transform

    side = preprocessing.size
    return create_transform(  # type: ignore[return-value]
        (3, side, side), is_training=False, mean=preprocessing.mean, std=preprocessing.std,
        crop_pct=preprocessing.crop, interpolation=preprocessing.interpolation,
    )  # fmt: skip


@lru_cache
def _wnids() -> dict[str, tuple[int, str]]:
    """Index and name of each ImageNet class by its WordNet id."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    names = (info.index_to_description(index).split(",")[0] for index in range(info.num_classes()))
    return {wnid: (index, name) for index, (wnid, name) in enumerate(zip(info.label_names(), names, strict=True))}


def _classes(folders: list[str], where: Path) -> tuple[str, tuple[str, ...], dict[str, int]]:
    """Task, names of the classes by index, and the index of each folder."""
    wnids = [name for name in folders if _WNID.fullmatch(name)]
    if wnids:
        known = _wnids()
        for name in folders:
            if name not in known:
                raise VitEdgeError(
                    f"{where.name}/{name} is none of the 1,000 ImageNet classes, while {wnids[0]} is one; remove it."
                )
        return "imagenet", tuple(name for _, name in known.values()), {name: known[name][0] for name in folders}
    if set(folders) <= set(DIGIT_CLASSES):
        return "digits", DIGIT_CLASSES, {name: int(name) for name in folders}
    return "", tuple(folders), {name: index for index, name in enumerate(folders)}


def _is_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return start.startswith(_MAGIC) and (not start.startswith(b"RIFF") or start[8:] == b"WEBP")


def _files(folder: Path) -> Iterator[Path]:
    """All files of a class folder in a fixed order. Links count as files that are no images."""
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        yield from (Path(parent) / name for name in sorted(names) if not name.startswith("."))


def _class_folders(where: Path) -> list[str]:
    try:
        inside = sorted(os.scandir(where), key=lambda entry: entry.name)
    except OSError as error:
        raise VitEdgeError(f"There is no folder {where} that can be read.") from error
    return [entry.name for entry in inside if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")]


def open_folder(folder: str) -> FolderImages:
    """A folder of class folders.

    Raises:
        VitEdgeError: It does not exist, has no class folders, or holds no image.
    """
    where = Path(folder).expanduser()
    where = where if where.is_absolute() else Path.cwd() / where
    folders = _class_folders(where)
    if not folders:
        raise VitEdgeError(
            f"{where} holds no class folders; put the images of each class into a folder of its own, named after it."
        )
    task, names, index = _classes(folders, where)
    files = [(path, index[name]) for name in folders for path in _files(where / name)]
    good = [_Entry(path, label) for path, label in files if not path.is_symlink() and _is_image(path)]
    if not good:
        raise VitEdgeError(
            f"None of the {len(files):,} files in the class folders of {where} is an image (JPEG, PNG, WebP, GIF, "
            "BMP or TIFF)."
        )
    content = hashlib.sha256()
    for entry in good:
        content.update(f"{entry.path.relative_to(where).as_posix()}\0{entry.path.stat().st_size}\n".encode())
    order = np.random.default_rng(20_260).permutation(len(good))
    images = FolderImages(where, [good[i] for i in order], names, task, f"folder-{content.hexdigest()[:16]}")
    images.skipped = len(files) - len(good)
    return images
