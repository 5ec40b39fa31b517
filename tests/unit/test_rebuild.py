"""The script of a package: in a process where VitEdge cannot be imported it rebuilds the same model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.unit.test_package import RECIPES, carry_out, images, name_of
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.export.package import CARD, WORDS, read, write
from vitedge_core.export.script import PARTS, SCRIPT
from vitedge_core.models.build import build
from vitedge_core.models.trace import trace
from vitedge_core.recipe import Recipe, Step
from vitedge_core.text.model_card import model_card

DRIVER = """
import importlib.util, json, runpy, sys
assert importlib.util.find_spec("vitedge_core") is None
import torch
from safetensors.torch import load_file, save_file
images = load_file(sys.argv[1])["images"]
found = {}
for folder in sys.argv[3:]:
    sys.modules.pop("parts", None)
    model = runpy.run_path(folder + "/rebuild.py")["rebuilt"]()
    with torch.no_grad():
        found[folder] = model(images)
    found[folder + " size"] = torch.tensor(sum(p.numel() for p in model.parameters()))
save_file(found, sys.argv[2])
assert "vitedge_core" not in sys.modules
"""


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    """What our models answer, what the scripts' answer in one fresh process, and the parameters of both."""
    folder = tmp_path_factory.mktemp("rebuilt")
    save_file({"images": images(20)}, folder / "images")
    models = {}
    for number, recipe in enumerate(RECIPES):
        model, plan, done = carry_out(*recipe)
        models[number] = (model, write(model, plan, done, folder / str(number), {}))
    packages = [str(path) for _, path in models.values()]
    command = [sys.executable, "-I", "-c", DRIVER, str(folder / "images"), str(folder / "answers"), *packages]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return models, load_file(folder / "answers")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(RECIPES)), ids=lambda number: name_of(RECIPES[number]))
def test_it_answers_like_the_model_and_is_as_small(rebuilt, number):
    models, answers = rebuilt
    model, path = models[number]
    with torch.no_grad():
        ours = model(images(20))
    assert torch.equal(answers[str(path)], ours)
    assert int(answers[f"{path} size"]) == sum(p.numel() for p in model.parameters())


def test_parts_go_along_only_where_they_are_needed(tmp_path):
    plain, quantised = (write(*carry_out(*RECIPES[n]), tmp_path / str(n), {}) for n in (0, 5))
    both = [(folder / PARTS).read_text() for folder in (plain, quantised)]
    assert ["class Grid" in text for text in both] == [False, True]
    assert ["def digits_vit_base" in text for text in both] == [True, True]
    assert not any("vitedge_core" in text for text in both)


def test_a_network_of_timms_needs_no_parts(tmp_path):
    tiny = trace("vit_tiny_patch16_224")
    folder = write(build("vit_tiny_patch16_224"), tiny, Recipe("vit_tiny_patch16_224"), tmp_path / "tiny", {})
    assert (folder / SCRIPT).is_file()
    assert not (folder / PARTS).exists()
    assert json.loads((folder / CARD).read_text())["timm"] == {"name": "vit_tiny_patch16_224", "arguments": {}}


def test_a_strangers_script_is_never_run(tmp_path):
    model, plan, recipe = carry_out(*RECIPES[0])
    folder = write(model, plan, recipe, tmp_path / "p", {})
    (folder / SCRIPT).write_text("raise SystemExit('it was run')")
    (folder / PARTS).write_text("raise SystemExit('it was run')")
    assert read(folder)[1] == recipe


def test_the_card_in_words_has_every_figure_with_what_it_rests_on(tmp_path):
    share = Quantity(0.962, "share", Evidence.MEASURED, "962 of 1,000 | digits", 0.948, 0.972)
    macs = Quantity.exact(123_456, "MAC", "counted")
    later = Quantity(0.5, "ratio", Evidence.PREDICTED, "a guess")
    card = {
        "baseline": {"macs": macs.to_dict()}, "compressed": {"accuracy": share.to_dict(), "macs": "no quantity"},
        "latency_ratio": later.to_dict(), "notes": ["Only half of the images."],
        "preparation": {"size": 48, "mean": [0.5], "std": [0.25], "crop": 1.0, "interpolation": "bicubic"},
    }  # fmt: skip
    recipe = Recipe("digits_vit_base", (Step.of("tome", r=4),))
    model, plan, _ = carry_out(*RECIPES[0])
    text = (write(model, plan, recipe, tmp_path / "p", card, words=model_card) / WORDS).read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[2:] == [
        "| Multiply-accumulates of one image | uncompressed | 123 kMAC | exact | measured | counted |",
        "| Accuracy (top-1) | this one | 96.2 % | 94.8 to 97.2 % | measured | 962 of 1,000 \\| digits |",
        "| Latency against the uncompressed model | both | 0.500× | not known | predicted | a guess |",
    ]
    for part in ("`tome` with r = 4", recipe.digest, "Only half of the images.", "48x48", "rebuild.py"):
        assert part in text
