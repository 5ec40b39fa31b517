"""Everything a recipe broke as one value, on tiny models, and as plain values with the images behind each."""

from __future__ import annotations

import json
from pathlib import Path

import homegrown
import numpy as np
import pytest
from PIL import Image

from vitedge_core.datasets import wild_digits
from vitedge_core.errors import Cancelled
from vitedge_core.experiments import evaluate, looking
from vitedge_core.experiments.what_broke import what_broke
from vitedge_core.recipe import Recipe, Step

QUANTITY = {"value", "unit", "evidence", "source", "low", "high"}
HURTS = (Step.of("layer_drop", blocks="1"), Step.of("uniform_ptq", w_bits=3, a_bits=4))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    made = {split: wild_digits.compose(split, 0, count=40) for split in wild_digits.SPLITS}
    monkeypatch.setattr(wild_digits, "load", lambda split="test", count=0, seed=0: made[split])
    evaluate._outcomes.clear()
    looking._known.clear()


@pytest.fixture(scope="module")
def name() -> str:
    return homegrown.keep("broke")


def quantities(value):
    if isinstance(value, dict) and set(value) >= QUANTITY:
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from quantities(inner)


def test_all_parts_speak_of_the_same_images(name):
    shares: list[float] = []
    found = what_broke(Recipe(name, HURTS), limit=32, curve_images=4, report=lambda share, _: shares.append(share))
    assert found.n == found.agreement.n == found.agreement.flips.n == found.gaze.n == found.accuracy.n == 32
    assert [layer.removed for layer in found.divergence.layers] == [False, True, False]
    assert found.agreement.flips.same.value < 1
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_every_figure_leaves_as_a_quantity_with_its_images(name):
    plain = what_broke(Recipe(name, HURTS), limit=16, curve_images=2).to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    found = list(quantities(plain))
    assert len(found) > 60
    assert all(quantity["n"] for quantity in found)
    assert plain["gaze"]["deletion"]["before"]["n"] == 2
    assert plain["agreement"]["difference"]["n"] == 16
    assert sum(one["n"] for one in plain["agreement"]["classes"]) == 16


def test_a_network_without_attention_says_so_and_keeps_the_rest():
    found = what_broke(Recipe("digits_convnet", (Step.of("uniform_ptq", w_bits=4, a_bits=4),)), limit=8)
    assert found.gaze is None
    assert "no map" in found.why_no_gaze
    assert found.divergence.kind == "layer"
    assert all(layer.sqnr is not None and layer.alone is None for layer in found.divergence.layers)


def test_a_folder_has_no_masks_and_its_calibration_images_are_left_out(name, tmp_path: Path):
    digits = wild_digits.compose("test", 3, count=40)
    for number, image in enumerate(digits.images):
        folder = tmp_path / str(number % 10)
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.asarray(image.permute(1, 2, 0))).save(folder / f"{number}.png")
    found = what_broke(Recipe(name, HURTS[1:]), str(tmp_path))
    assert found.gaze is None
    assert "no masks" in found.why_no_gaze
    assert found.n == 20
    assert "Only 20 of the 40 images" in found.notes[0]


def test_it_can_be_stopped(name):
    with pytest.raises(Cancelled):
        what_broke(Recipe(name, HURTS), limit=8, cancelled=lambda: True)
