"""From a recipe to a file: which step stands in the way, what is added for integers, and files without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import homegrown
import numpy as np
import pytest
import torch

from vitedge_core.compress import compress
from vitedge_core.datasets import wild_digits
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.experiments import measure_file as measuring
from vitedge_core.experiments.evaluate import images_for
from vitedge_core.experiments.measure_file import measure_file
from vitedge_core.experiments.take_away import completed, take_away, unsupported
from vitedge_core.export import form
from vitedge_core.export.forms import Form
from vitedge_core.export.loaded import load
from vitedge_core.models.load import preprocessing
from vitedge_core.recipe import Recipe, Step

S = Step.of
PRUNED = S("head_mlp_magnitude", ratio=0.3)
ROUNDED = S("uniform_ptq", w_bits=8, a_bits=8)
TOME = S("tome", r=4)


@pytest.fixture(autouse=True)
def small(monkeypatch, request):
    if "slow" not in request.keywords:
        made = {split: wild_digits.compose(split, 0, count=40) for split in wild_digits.SPLITS}
        monkeypatch.setattr(wild_digits, "load", lambda split="test", count=0, seed=0: made[split])


@pytest.fixture(scope="module")
def name() -> str:
    return homegrown.keep("exports")


class NoMerging(Form):
    """Cannot say token merging, and finds out late."""

    key, title, ending, purpose, lacks = "no", "No merging", ".txt", "For tests.", "Merging."

    def convert(self, parcel: Any) -> Any:
        if parcel.plan.merges_tokens:
            raise VitEdgeError("No words for merging.")
        return parcel.model

    def save(self, converted: Any, passport: Any, path: Path) -> None:
        path.write_text(passport.recipe.to_json())

    def answers(self, path: Path, images: torch.Tensor) -> torch.Tensor:
        return compress(Recipe.from_json(path.read_text())).model(images)


def test_the_step_that_prevents_an_export_is_named_from_shapes(name):
    recipe = Recipe(name, (PRUNED, TOME, S("uniform_ptq", w_bits=4, a_bits=8)))
    why = unsupported(recipe, form("onnx-int8"))
    assert why
    assert why.startswith("Step 3 of the recipe (uniform_ptq) prevents this export: ONNX int8 holds integers of 8 bits")
    assert unsupported(Recipe(name, (PRUNED, TOME)), form("onnx")) is None


def test_and_by_trying_ever_longer_beginnings(name, tmp_path):
    recipe = Recipe(name, (PRUNED, TOME, ROUNDED))
    with pytest.raises(VitEdgeError, match=r"Step 2 of the recipe \(tome\) prevents this export: No words for merging"):
        take_away(recipe, NoMerging(), tmp_path / "m.txt")
    assert not list(tmp_path.iterdir())
    take_away(Recipe(name, (PRUNED,)), NoMerging(), tmp_path / "m.txt")


def test_a_model_that_cannot_leave_at_all_blames_no_step(name, tmp_path):
    class Never(NoMerging):
        def convert(self, parcel: Any) -> Any:
            raise VitEdgeError("No words at all.")

    with pytest.raises(VitEdgeError, match=r"^No words at all"):
        take_away(Recipe(name, (PRUNED,)), Never(), tmp_path / "m.txt")


def test_integers_without_a_recipe_for_them_are_a_step_that_is_told(name):
    recipe, told = completed(Recipe(name, (PRUNED,)), form("onnx-int8"))
    assert recipe.steps == (PRUNED, ROUNDED)
    assert "added a last step" in told[0]
    assert completed(Recipe(name, (ROUNDED,)), form("onnx-int8")) == (Recipe(name, (ROUNDED,)), ())
    assert completed(Recipe(name), form("onnx")) == (Recipe(name), ())


def test_cancelling(name, tmp_path):
    with pytest.raises(Cancelled):
        take_away(Recipe(name, (PRUNED,)), form("package"), tmp_path / "p.zip", cancelled=lambda: True)
    assert not list(tmp_path.iterdir())


def test_a_package_is_measured_beside_its_model_in_pytorch(tmp_path):
    recipe = Recipe("digits_vit_small", (PRUNED, ROUNDED))
    written = take_away(recipe, form("package"), tmp_path / "p.zip")
    found = measure_file(written.path, limit=40, latency=False)
    assert found.recipe == recipe
    assert found.n == 40
    assert found.difference is not None
    assert (found.difference.value, found.ratio) == (0.0, None)
    assert json.dumps(found.to_dict())


def test_a_file_whose_recipe_trains_is_not_trained_again(tmp_path, monkeypatch):
    written = take_away(Recipe("digits_vit_small"), form("package"), tmp_path / "p.zip")
    recipe = Recipe("digits_vit_small", (S("soft_logits"),))
    passport = replace(load(written.path).passport, recipe=recipe)
    monkeypatch.setattr(measuring, "load", lambda path: replace(load(path), passport=passport))
    found = measure_file(written.path, limit=20)
    assert (found.recipe, found.difference) == (recipe, None)
    assert any("the file stands alone" in note for note in found.notes)


def test_a_stranger_must_fit(name, tmp_path):
    onnx = pytest.importorskip("onnx")
    from tests.unit.test_loaded import graph

    path = tmp_path / "m.onnx"
    onnx.save(graph(), path)
    with pytest.raises(VitEdgeError, match="does not say how it wants its images; name a model"):
        measure_file(path)
    onnx.save(graph(side=32), path)
    with pytest.raises(VitEdgeError, match="takes images of 32 pixels"):
        measure_file(path, model=name)
    onnx.save(graph(classes=11), path)
    with pytest.raises(VitEdgeError, match="names 11 classes"):
        measure_file(path, model=name)
    onnx.save(graph(), path)
    found = measure_file(path, model=name, limit=20)
    assert found.ratio is not None
    assert found.accuracy.value < 0.7
    assert any("says nothing of itself" in note for note in found.notes)


FIVE = {
    "plain": (), "pruned": (PRUNED,), "tome": (TOME,), "w8a8": (ROUNDED,), "pruned-w8a8": (PRUNED, ROUNDED),
}  # fmt: skip
WITHOUT_TORCH = """
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "timm", "vitedge_core"}:
            raise ImportError("forbidden: " + name)
sys.meta_path.insert(0, Forbidden())
import numpy as np, onnxruntime, openvino
images = np.load(sys.argv[1])
answers = {}
for path in sys.argv[3:]:
    if path.endswith(".onnx"):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        answers[path] = session.run(None, {"images": images})[0]
    else:
        core = openvino.Core()
        answers[path] = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(images)[0]
assert "torch" not in sys.modules
np.savez(sys.argv[2], *[answers[path] for path in sys.argv[3:]])
"""


@pytest.mark.slow
@pytest.mark.parametrize("label", FIVE)
def test_five_recipes_run_where_there_is_no_torch(label, tmp_path):
    recipe, integers = Recipe("digits_vit_base", FIVE[label]), ROUNDED in FIVE[label]
    wanted = preprocessing(recipe.model)
    images = next(iter(images_for(recipe.model).batches(wanted, 50, 50))).images
    with torch.inference_mode():
        ours = compress(recipe).model(images).argmax(1).numpy()
    np.save(tmp_path / "images.npy", images.numpy())
    forms = [form("onnx-int8" if integers else "onnx"), form("openvino")]
    paths = [take_away(recipe, one, tmp_path / f"{one.key}{one.ending}").path for one in forms]
    command = [sys.executable, "-I", "-c", WITHOUT_TORCH, tmp_path / "images.npy", tmp_path / "out.npz", *paths]
    ran = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    with np.load(tmp_path / "out.npz") as answers:
        same = [int((answers[name].argmax(1) == ours).sum()) for name in answers.files]
    assert len(same) == len(paths)
    assert min(same) >= (48 if integers else 50), same
