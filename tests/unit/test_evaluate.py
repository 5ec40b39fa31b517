"""A recipe beside its baseline: all figures, on images that no step has seen."""

from __future__ import annotations

import os
from pathlib import Path

import homegrown
import numpy as np
import pytest
from PIL import Image

from vitedge_core.compress import compress
from vitedge_core.datasets import wild_digits
from vitedge_core.datasets.sets import open_images
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence
from vitedge_core.experiments import evaluate as subject
from vitedge_core.experiments.evaluate import costs, evaluate
from vitedge_core.experiments.evaluation import COSTS, FIGURES
from vitedge_core.models.trace import trace_model
from vitedge_core.recipe import Recipe, Step

HALF = Step.of("head_mlp_magnitude", ratio=0.5, compensate=False)
FOUR_BITS = Step.of("uniform_ptq", w_bits=4, a_bits=8)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    made = {split: wild_digits.compose(split, 0, count=40) for split in wild_digits.SPLITS}
    monkeypatch.setattr(wild_digits, "load", lambda split="test", count=0, seed=0: made[split])
    subject._outcomes.clear()


@pytest.fixture(scope="module")
def name() -> str:
    return homegrown.keep("evaluate")


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """Twelve images of four digits in class folders."""
    digits = wild_digits.compose("test", 3, count=12)
    for number, image in enumerate(digits.images):
        folder = tmp_path / str(number % 4)
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.asarray(image.permute(1, 2, 0))).save(folder / f"{number}.png")
    return str(tmp_path)


def test_a_pruned_model_is_measured_beside_its_baseline(name):
    found = evaluate(Recipe(name, (HALF,)), limit=32)
    assert set(found.baseline) == set(found.compressed) == set(FIGURES)
    assert found.n == 32
    for figures in (found.baseline, found.compressed):
        assert figures["accuracy"].evidence is Evidence.MEASURED
        assert figures["latency_seconds"].value > 0
        assert "1 thread" in figures["latency_seconds"].source
    for key in ("params", "macs", "weight_bytes", "measured_memory_bytes"):
        assert found.compressed[key].value < found.baseline[key].value
    done = compress(Recipe(name, (HALF,)))
    assert found.compressed["params"].value == sum(p.numel() for p in done.model.parameters())
    assert found.compressed["macs"].value == trace_model(done.model).macs
    gap = found.compressed["accuracy"].value - found.baseline["accuracy"].value
    assert found.difference.value == pytest.approx(gap)
    assert found.ratio is not None
    assert found.ratio.low <= found.ratio.value <= found.ratio.high


def test_the_plain_values_carry_evidence_and_n(name):
    plain = evaluate(Recipe(name), limit=8, latency=False).to_dict()
    for side in ("baseline", "compressed"):
        assert set(plain[side]) == {*COSTS, "accuracy"}
        for quantity in plain[side].values():
            assert set(quantity) - {"n"} == {"value", "unit", "evidence", "source", "low", "high"}
        assert plain[side]["accuracy"]["n"] == 8
    assert plain["latency_ratio"] is None
    assert plain["images"]["digest"] == open_images("digits").digest


def test_nothing_done_is_exactly_no_difference(name):
    found = evaluate(Recipe(name), limit=8, latency=False)
    assert found.difference.is_exact
    assert found.compressed["accuracy"] == found.baseline["accuracy"]


def test_bits_claim_no_speed(name, monkeypatch):
    timed = {}

    def compare(models, *args, **more):
        timed.update(models)
        return real(models, *args, **more)

    real = subject.compare
    monkeypatch.setattr(subject, "compare", compare)
    found = evaluate(Recipe(name, (HALF, FOUR_BITS)), limit=16)
    remark = "float32 kernels; the bits bring no speed here"
    assert remark in found.compressed["latency_seconds"].source
    assert f"Latency: {remark}." in found.notes
    assert "rounded to their bits" in found.compressed["accuracy"].source
    layers = {type(module).__name__ for module in timed["compressed"].modules()}
    assert "QuantLinear" not in layers
    assert sum(p.numel() for p in timed["compressed"].parameters()) == found.compressed["params"].value
    assert found.compressed["weight_bytes"].value < found.baseline["weight_bytes"].value / 6


def test_zeros_are_no_speed(name):
    found = evaluate(Recipe(name, (Step.of("magnitude", ratio=0.9),)), limit=8)
    assert "zeros are multiplied" in found.compressed["latency_seconds"].source
    assert found.compressed["macs"] == found.baseline["macs"]
    assert found.compressed["params"].value == found.baseline["params"].value


def test_a_folder_that_calibrates_is_tested_on_its_other_half(name, photos):
    plain = evaluate(Recipe(name, (Step.of("magnitude"),)), photos, None, latency=False)
    assert plain.n == 12
    assert plain.notes == ()
    found = evaluate(Recipe(name, (FOUR_BITS,)), photos, None, latency=False)
    assert found.n == 6
    assert found.digest != plain.digest
    assert "Only 6 of the 12 images" in found.notes[0]
    assert "second half of the folder" in found.notes[0]
    images = open_images(photos)
    assert subject.tested_on(Recipe(name, (FOUR_BITS,)), images).digest == found.digest
    assert subject.tested_on(Recipe(name, (FOUR_BITS,)), open_images("digits")).digest == open_images("digits").digest


def test_files_that_are_no_images_are_mentioned(name, photos):
    (Path(photos) / "0" / "readme.txt").write_text("about")
    found = evaluate(Recipe(name), photos, None, latency=False)
    assert found.notes == (f"1 files of the folder {Path(photos).name} are no images and were skipped.",)


def test_the_baseline_is_asked_once(name, monkeypatch):
    asked = []
    real = subject.accuracy.evaluate
    monkeypatch.setattr(subject.accuracy, "evaluate", lambda *a, **k: (asked.append(a[0]), real(*a, **k))[1])
    evaluate(Recipe(name), limit=8, latency=False)
    evaluate(Recipe(name, (HALF,)), limit=8, latency=False)
    assert len(asked) == 2
    evaluate(Recipe(name), limit=9, latency=False)
    assert len(asked) == 3


def test_progress_never_falls_and_cancelling_works(name):
    shares: list[float] = []
    evaluate(Recipe(name, (HALF,)), limit=8, report=lambda share, _: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    with pytest.raises(Cancelled):
        evaluate(Recipe(name, (HALF,)), limit=8, cancelled=lambda: True)


def test_models_without_images_or_weights_say_so(monkeypatch, photos):
    for variable in ("VITEDGE_IMAGES", "VITEDGE_WEIGHTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("vitedge_core.models.hub.reachable", lambda: False)
    deit = Recipe("deit_tiny_patch16_224")
    with pytest.raises(VitEdgeError, match="VITEDGE_IMAGES"):
        evaluate(deit)
    with pytest.raises(VitEdgeError, match="names imagenet classes"):
        evaluate(deit, photos)


def test_costs_need_no_weights():
    from vitedge_core.models.trace import trace

    figures = costs(trace("deit_tiny_patch16_224"))
    assert tuple(figures) == COSTS
    assert figures["params"].value == 5_717_416


WEIGHTS, IMAGES = os.environ.get("VITEDGE_WEIGHTS"), os.environ.get("VITEDGE_IMAGES")


@pytest.mark.slow
@pytest.mark.skipif(not (WEIGHTS and IMAGES), reason="VITEDGE_WEIGHTS and VITEDGE_IMAGES name no ImageNet material")
def test_real_imagenet_weights_on_real_images():
    found = evaluate(Recipe("deit_tiny_patch16_224"), latency=False)
    assert (round(found.baseline["accuracy"].value * found.n), found.n) == (392, 500)
