"""Packages: bits without gaps, the very model back, the size that was predicted, and no trust in strangers."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from referee import carried_out
from safetensors.torch import load_file, save_file

import vitedge_core.techniques  # noqa: F401  fills the registry
from vitedge_core.cost.report import cost
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.export import package
from vitedge_core.export.bits import pack, packed_size, unpack
from vitedge_core.export.package import CARD, RECIPE, WEIGHTS, read, write
from vitedge_core.models.build import build
from vitedge_core.models.trace import trace
from vitedge_core.recipe import Recipe, Step
from vitedge_core.registry import technique
from vitedge_core.techniques.base import Context

SIDE = 48


@given(st.integers(2, 16).flatmap(lambda b: st.tuples(st.just(b), arrays(np.uint16, st.integers(0, 70),
       elements=st.integers(0, 2**b - 1)))))  # fmt: skip
def test_bits_come_back(case):
    bits, codes = case
    packed = pack(codes, bits)
    assert packed.dtype == np.uint8
    assert len(packed) == packed_size(len(codes), bits) == -(-len(codes) * bits // 8)
    assert (unpack(packed, bits, len(codes)) == codes).all()


def test_bits_lie_lowest_first():
    assert pack(np.array([0b101, 0b010, 0b111]), 3).tolist() == [0b11010101, 0b1]


def test_wrong_lengths_are_noticed():
    with pytest.raises(ValueError, match="10 integers of 3 bits take 4 bytes"):
        unpack(np.zeros(3, np.uint8), 3, 10)


def images(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def context() -> Context:
    return Context(images(8), labels=tiny.labels(8), stream=tiny.stream, teacher=lambda name: build("digits_vit_base"))


def carry_out(name: str, *steps: Step):
    """The compressed model with random weights, its plan and its recipe."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(name).eval()
    plan = trace(name)
    for step in steps:
        found = technique(step.technique).from_knobs(step.knobs)
        assert found.supports(plan) is None
        model, plan = carried_out(found, model, plan, context())
    return model, plan, Recipe(name, steps)


S = Step.of
RECIPES = [
    ("digits_vit_base",),
    ("digits_vit_small", S("tome", r=6), S("head_mlp_magnitude", ratio=0.5)),
    ("digits_vit_small", S("head_mlp_taylor", ratio=0.4, ranking="global"), S("uniform_ptq", w_bits=8, a_bits=8)),
    ("digits_vit_small", S("layer_drop", blocks="1,4"), S("tome", r=4), S("uniform_ptq", w_bits=3, a_bits=6)),
    ("digits_vit_small", S("uniform_ptq", w_bits=5, w_scheme="affine"), S("tome", r=5, schedule="decreasing")),
    ("digits_vit_small", S("magnitude", ratio=0.6), S("uniform_ptq", w_bits=12, w_scheme="affine", a_bits=32)),
    ("digits_vit_small", S("uniform_ptq", w_bits=32, a_bits=6, attention=False)),
    ("digits_vit_small", S("uniform_ptq", w_bits=2, a_bits=16, w_granularity="tensor", ends="8 bits")),
    ("digits_swin", S("head_mlp_magnitude", ratio=0.5), S("layer_drop", blocks="1,3"), S("uniform_ptq", w_bits=4)),
    ("digits_convnet", S("uniform_ptq", w_bits=4)),
    ("digits_convnet",),
]  # fmt: skip


def name_of(recipe: tuple) -> str:
    return "-".join([recipe[0], *(step.technique for step in recipe[1:])])


@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_the_very_model_comes_back_and_has_the_size_that_was_predicted(recipe, tmp_path):
    model, plan, done = carry_out(*recipe)
    folder = write(model, plan, done, tmp_path / "out", {"note": "a card's own words"})
    again, recipe_again = read(folder)
    assert recipe_again == done
    with torch.no_grad():
        assert torch.equal(again(images()), model(images()))
    assert (folder / WEIGHTS).stat().st_size == pytest.approx(cost(plan).weight_bytes.value, rel=0.01)
    card = json.loads((folder / CARD).read_text())
    assert (card["note"], card["params"], card["macs"]) == ("a card's own words", plan.params, plan.macs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_model_that_came_back_is_written_the_same(tmp_path):
    model, plan, done = carry_out(*RECIPES[3])
    first = write(model, plan, done, tmp_path / "first", {})
    second = write(read(first)[0], plan, done, tmp_path / "second", {})
    assert (first / WEIGHTS).read_bytes() == (second / WEIGHTS).read_bytes()


def test_a_model_of_ones_own_is_packed_with_its_architecture(tmp_path, monkeypatch):
    """Who gets the package has no such model; its architecture is enough."""
    from vitedge_core.models.checkpoint import save_own

    monkeypatch.setenv("VITEDGE_DATA", str(tmp_path / "mine"))
    base = build("digits_vit_small", num_classes=7)
    name = save_own(base, "digits_vit_small", "Student of seven", task="").name
    model, plan, done = carry_out(name, S("uniform_ptq", w_bits=4))
    folder = write(model, plan, done, tmp_path / "out", {})
    monkeypatch.setenv("VITEDGE_DATA", str(tmp_path / "somebody else's"))
    again, recipe = read(folder)
    assert recipe.model == name
    with torch.no_grad():
        assert torch.equal(again(images()), model(images()))
        assert again(images()).shape == (4, 7)


def test_integers_in_the_file_times_scales_are_the_weights(tmp_path):
    model, plan, done = carry_out("digits_vit_small", S("uniform_ptq", w_bits=6, w_scheme="affine"))
    held = load_file(write(model, plan, done, tmp_path / "p", {}) / WEIGHTS)
    layer = model.get_submodule("blocks.2.mlp.fc1")
    name = "blocks.2.mlp.fc1.weight"
    codes = unpack(held[name].numpy(), 6, layer.weight.numel()).reshape(layer.weight.shape)
    step, zero = held[f"{name}_grid.step"], held[f"{name}_grid.zero"].float()
    weight = (torch.from_numpy(codes).float() - zero) * step
    assert torch.equal(weight, layer.weight_grid(layer.weight))


@pytest.fixture(scope="module")
def example():
    return carry_out("digits_vit_small", S("uniform_ptq", w_bits=4), S("tome", r=3))


@pytest.fixture(scope="module")
def kept(example, tmp_path_factory) -> Path:
    return write(*example, tmp_path_factory.mktemp("kept") / "package", {})


@pytest.fixture
def written(kept, tmp_path) -> Path:
    """A package to do harm to."""
    return Path(shutil.copytree(kept, tmp_path / "package"))


def reseal(folder: Path) -> None:
    """What a stranger would do: make the digests fit."""
    card = json.loads((folder / CARD).read_text())
    card["files"] = {name: package._seal(folder / name) for name in (WEIGHTS, RECIPE)}
    (folder / CARD).write_text(json.dumps(card))


def alter_weights(folder: Path, change) -> None:
    held = load_file(folder / WEIGHTS)
    change(held)
    save_file(held, folder / WEIGHTS)
    reseal(folder)


def refused(folder: Path, match: str) -> None:
    with pytest.raises(VitEdgeError, match=match) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_one_wrong_byte_is_noticed(written):
    data = bytearray((written / WEIGHTS).read_bytes())
    data[-7] ^= 1
    (written / WEIGHTS).write_bytes(data)
    refused(written, "not the file that was written")


@pytest.mark.parametrize("length", [0, 5, 2000, -1])
def test_truncated_weights(written, length):
    (written / WEIGHTS).write_bytes((written / WEIGHTS).read_bytes()[:length])
    reseal(written)
    refused(written, "export it again|export the model again")


def test_a_pickle_in_its_place(written):
    class Bomb:
        def __reduce__(self):
            raise AssertionError("it was opened")

    (written / WEIGHTS).write_bytes(b"\x80\x04" + pickle.dumps({"a": 1}) * 100_000)
    reseal(written)
    refused(written, "does not hold the tensors")


def test_a_link_is_not_followed(written, tmp_path):
    target = tmp_path / "elsewhere"
    (written / WEIGHTS).rename(target)
    (written / WEIGHTS).symlink_to(target)
    refused(written, "holds no file model.safetensors")


@pytest.mark.parametrize("missing", [WEIGHTS, RECIPE, CARD])
def test_a_missing_file(written, missing):
    (written / missing).unlink()
    refused(written, f"holds no file {missing}")


def test_no_folder_at_all(tmp_path):
    refused(tmp_path / "nowhere", "is no package of VitEdge")


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"format": "vitedge package 1", "files": 3}'])
def test_a_card_that_is_none(written, text):
    (written / CARD).write_text(text)
    refused(written, "card.json")


LIES = [
    (None,),
    ("architecture", "no_such_network"),
    ("architecture", "mine/../../etc"),
    ("architecture", "hf_hub:somebody/something"),
    ("architecture", "digits_swin"),
    ("architecture", "vit_giant_patch14_224"),
    ("architecture", ["digits_vit_small"]),
    ("image", 4096),
    ("image", -1),
    ("image", 10**30),
    ("classes", 99_999),
    ("classes", True),
    ("blocks", 0, "heads", 3),
    ("blocks", 0, "heads", 99),
    ("blocks", 0, "hidden", 99),
    ("blocks", 0, "origin", 1),
    ("blocks", []),
    ("blocks", None),
    ("merged", [3]),
    ("merged", 3),
    ("products", ["blocks.0.mlp"]),
    ("products", ["__class__"]),
    ("grids", 0, "path", "blocks.0"),
    ("grids", 0, "path", "blocks.0.norm1.weight_grid"),
    ("grids", 0, "path", "patch_embed.norm"),
    ("grids", 0, "bits", 64),
    ("grids", 0, "bits", 3),
    ("grids", 0, "scheme", "exec"),
    ("grids", 0, "channels", 5),
    ("grids", {}),
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: "-".join(map(str, lie)))
def test_a_structure_that_lies(written, lie):
    card = json.loads((written / CARD).read_text())
    *path, last = ["structure", *lie[:-1]]
    place = card
    for name in path:
        place = place[name]
    place[last] = lie[-1]
    (written / CARD).write_text(json.dumps(card))
    refused(written, "[.?]$")


def test_tensors_of_another_shape_name_or_number(written):
    original = copy.deepcopy(load_file(written / WEIGHTS))

    def longer(held):
        held["head.bias"] = torch.zeros(11)

    def fewer(held):
        held.pop("head.bias")

    def other_type(held):
        held["head.bias"] = held["head.bias"].double()

    def extra(held):
        held["more"] = torch.zeros(1)

    for change in (longer, fewer, other_type, extra):
        alter_weights(written, change)
        refused(written, "does not hold the tensors")
        save_file(original, written / WEIGHTS)

    def poisoned(held):
        held["norm.weight"][3] = float("nan")

    alter_weights(written, poisoned)
    refused(written, "not finite")


def test_what_is_there_already(example, tmp_path):
    somebodys = tmp_path / "thesis"
    somebodys.mkdir()
    (somebodys / "chapter1.tex").write_text("precious")
    with pytest.raises(VitEdgeError, match="holds something else"):
        write(*example, somebodys, {})
    assert (somebodys / "chapter1.tex").read_text() == "precious"
    empty = tmp_path / "empty"
    empty.mkdir()
    write(*example, empty, {"n": 1})
    write(*example, empty, {"n": 2})  # an older package is replaced
    assert json.loads((empty / CARD).read_text())["n"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "thesis"]


def test_cancelling_and_failing_leave_nothing(example, tmp_path, monkeypatch):
    with pytest.raises(Cancelled):
        write(*example, tmp_path / "p", {}, cancelled=lambda: True)
    assert not list(tmp_path.iterdir())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(package, "save_file", full)
    with pytest.raises(VitEdgeError, match="No space left"):
        write(*example, tmp_path / "p", {})
    assert not list(tmp_path.iterdir())


def test_an_older_package_survives_a_failure(example, tmp_path, monkeypatch):
    folder = write(*example, tmp_path / "p", {"n": 1})
    monkeypatch.setattr(package, "_seal", lambda path: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(VitEdgeError, match="cannot be written"):
        write(*example, folder, {"n": 2})
    assert json.loads((folder / CARD).read_text())["n"] == 1
