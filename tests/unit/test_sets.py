"""Image sets: the digits, and folders of class folders with everything that can be wrong in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitedge_core.datasets import wild_digits
from vitedge_core.datasets.folders import open_folder
from vitedge_core.datasets.sets import DigitImages, open_images, prepare
from vitedge_core.errors import VitEdgeError
from vitedge_core.preprocessing import Preprocessing

PREPARED = Preprocessing(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def folder(root: Path, counts: dict[str, int], side: int = 40) -> Path:
    """Class folders of flat images; the shade of an image tells its class."""
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            shade = (40 * number + 20, i % 256, 100)
            Image.new("RGB", (side, side + 8), shade).save(root / name / f"{i:03}.png")
    return root


@pytest.fixture
def small_digits(monkeypatch):
    """The digits with 60 images to a split."""
    made = {split: wild_digits.compose(split, 0, count=60) for split in wild_digits.SPLITS}
    monkeypatch.setattr(wild_digits, "load", lambda split="test", count=0, seed=0: made[split])
    return DigitImages()


def test_digits_first_asked_for_in_inference_mode_can_be_trained_on(monkeypatch, tmp_path):
    monkeypatch.setenv("VITEDGE_DATA", str(tmp_path))
    for kept in (wild_digits.load, wild_digits._handwriting, wild_digits._photographs):
        kept.cache_clear()
    for _ in ("made", "read"):
        with torch.inference_mode():
            digits = wild_digits.load("train", 4, seed=77)
        assert not any(part.is_inference() for part in (digits.images, digits.labels, digits.masks))
        wild_digits.load.cache_clear()
    assert not wild_digits._photographs("train").is_inference()


def test_digits_come_in_batches_of_the_same_order(small_digits):
    whole = next(small_digits.batches(PREPARED, 60, 60))
    parts = list(small_digits.batches(PREPARED, 50, 16))
    assert [len(p.labels) for p in parts] == [16, 16, 16, 2]
    assert torch.equal(torch.cat([p.labels for p in parts]), whole.labels[:50])
    assert whole.images.shape == (60, 3, 32, 32)
    assert whole.masks is not None
    assert whole.masks.shape == (60, 48, 48)


def test_a_digit_is_the_image_its_batch_holds(small_digits):
    own = Preprocessing(48, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    batch = next(small_digits.batches(own, 3, 3))
    picture = np.asarray(small_digits.image(2), dtype=np.float32) / 255
    assert np.allclose(picture.transpose(2, 0, 1), batch.images[2].numpy())
    assert small_digits.label(2) == int(batch.labels[2])
    assert small_digits.mask(2).any()


def test_calibration_and_training_digits_are_not_the_tested_ones(small_digits):
    tested = {image.numpy().tobytes() for image in next(small_digits.unseen().batches(PREPARED, 60, 60)).images}
    calibration = small_digits.calibration(PREPARED, 40)
    stream = small_digits.stream(PREPARED, seed=3, size=20)
    seen = [*calibration.images, *next(stream).images, *next(stream).images]
    assert len(seen) == 80
    assert not tested & {image.numpy().tobytes() for image in seen}


def test_the_stream_follows_its_seed(small_digits):
    first, again, other = (next(small_digits.stream(PREPARED, seed=s, size=8)).images for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_prepare_normalises():
    grey = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    assert torch.allclose(prepare(grey, Preprocessing(8, (0.5,) * 3, (0.25,) * 3)), torch.full((1, 3, 8, 8), 2.0))


def test_a_folder_gives_labels_by_sorted_class_names(tmp_path):
    images = open_images(str(folder(tmp_path, {"cat": 3, "ant": 2})))
    assert images.class_names == ("ant", "cat")
    assert len(images) == 5
    assert images.task == ""
    for index in range(len(images)):
        red = np.asarray(images.image(index))[0, 0, 0]
        assert images.label(index) == (0 if red == 60 else 1)
    batch = next(images.batches(PREPARED))
    assert batch.images.shape == (5, 3, 32, 32)
    assert batch.labels.tolist() == [images.label(i) for i in range(5)]


def test_the_order_is_shuffled_and_always_the_same(tmp_path):
    where = str(folder(tmp_path, {"a": 40, "b": 40}))
    one, other = open_images(where), open_images(where)
    labels = [one.label(i) for i in range(80)]
    assert labels == [other.label(i) for i in range(80)]
    assert 8 <= sum(labels[:40]) <= 32  # a sorted order would give 0
    assert one.digest == other.digest


def test_the_digest_follows_the_content_and_not_the_place(tmp_path):
    one = open_images(str(folder(tmp_path / "one", {"a": 2, "b": 2})))
    two = open_images(str(folder(tmp_path / "two", {"a": 2, "b": 2})))
    assert one.digest == two.digest
    Image.new("RGB", (99, 99)).save(tmp_path / "two" / "a" / "new.png")
    assert open_images(str(tmp_path / "two")).digest != one.digest


def test_what_a_folder_calibrates_with_is_not_tested(tmp_path):
    images = open_folder(str(folder(tmp_path, {"a": 6, "b": 6})))
    tested = images.unseen()
    assert len(tested) == 6
    assert tested.digest != images.digest
    for index in range(6):
        assert tested.path(index) == images.path(index)
    every = {i.numpy().tobytes() for i in next(images.batches(PREPARED)).images}
    shown = {i.numpy().tobytes() for i in next(tested.batches(PREPARED)).images}
    calibration = {i.numpy().tobytes() for i in images.calibration(PREPARED).images}
    stream = images.stream(PREPARED, seed=0, size=4)
    trained = {i.numpy().tobytes() for _ in range(4) for i in next(stream).images}
    assert not shown & calibration
    assert calibration == trained == every - shown
    with pytest.raises(VitEdgeError, match="unseen half"):
        tested.calibration(PREPARED)


def test_wordnet_ids_are_ranked_among_the_thousand(tmp_path):
    images = open_images(str(folder(tmp_path, {"n15075141": 1, "n01440764": 1})))
    assert images.task == "imagenet"
    assert len(images.class_names) == 1000
    assert {images.label(0), images.label(1)} == {0, 999}
    assert images.class_names[0] == "tench"


def test_digits_in_folders_are_digits(tmp_path):
    images = open_images(str(folder(tmp_path, {"3": 1, "7": 1})))
    assert images.task == "digits"
    assert {images.label(0), images.label(1)} == {3, 7}


@pytest.mark.parametrize("name", ["misc", "n99999999"])
def test_a_folder_that_is_no_imagenet_class_among_such_is_named(tmp_path, name):
    with pytest.raises(VitEdgeError, match=f"{name} is none of the 1,000 ImageNet classes"):
        open_images(str(folder(tmp_path, {"n01440764": 1, name: 1})))


def test_missing_empty_and_wrong_folders_say_so(tmp_path):
    with pytest.raises(VitEdgeError, match="There is no folder"):
        open_images(str(tmp_path / "nowhere"))
    with pytest.raises(VitEdgeError, match="holds no class folders"):
        open_images(str(tmp_path))
    (tmp_path / "cat").mkdir()
    with pytest.raises(VitEdgeError, match="None of the 0 files"):
        open_images(str(tmp_path))
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "cat" / "fake.jpg").write_text("no image either")
    with pytest.raises(VitEdgeError, match="None of the 2 files"):
        open_images(str(tmp_path))
    with pytest.raises(VitEdgeError, match="Name a folder"):
        open_images("")


def test_files_that_are_no_images_are_counted_and_left_out(tmp_path):
    where = folder(tmp_path, {"a": 2, "b": 1})
    (where / "a" / "fake.png").write_bytes(b"GIF, says the name")
    (where / "a" / ".hidden").write_bytes(b"")
    images = open_images(str(where))
    assert len(images) == 3
    assert images.skipped == 1


def test_a_damaged_image_is_left_out_of_batches_and_named_alone(tmp_path):
    where = folder(tmp_path, {"a": 3})
    whole = (where / "a" / "001.png").read_bytes()
    (where / "a" / "001.png").write_bytes(whole[: len(whole) // 2])
    images = open_folder(str(where))
    assert sum(len(batch.labels) for batch in images.batches(PREPARED)) == 2
    broken = next(i for i in range(3) if images.path(i).name == "001.png")
    with pytest.raises(VitEdgeError, match=r"001\.png cannot be read"):
        images.image(broken)


def test_links_are_not_followed(tmp_path):
    outside = folder(tmp_path / "outside", {"secret": 1})
    where = folder(tmp_path / "inside", {"a": 1})
    (where / "linked").symlink_to(outside / "secret")
    (where / "a" / "linked.png").symlink_to(outside / "secret" / "000.png")
    images = open_folder(str(where))
    assert images.class_names == ("a",)
    assert [images.path(i).name for i in range(len(images))] == ["000.png"]
    assert images.skipped == 1
