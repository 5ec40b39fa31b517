"""The list of models: every name resolves, every published figure has a source, nothing heavy is loaded for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import timm
from hypothesis import given, settings
from hypothesis import strategies as st

import vitedge_core
from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence
from vitedge_core.models.trace import trace
from vitedge_core.models.zoo import BUNDLED, ModelCard, called, card, cards, title


def test_bundled_then_own_then_the_zoo():
    listed = cards()
    assert [c.name for c in listed[:4]] == list(BUNDLED)
    assert all(c.bundled and c.task == "digits" and c.image == 48 for c in listed[:4])
    published = [c for c in listed if not c.bundled and not c.name.startswith("mine/")]
    assert len(published) == 91
    assert len({c.name for c in listed}) == len(listed)


def test_every_name_of_the_zoo_is_one_of_timms():
    names = set(timm.list_pretrained())
    assert [c.name for c in cards() if not c.bundled and not c.name.startswith("mine/") and c.name not in names] == []


def test_published_accuracy_carries_its_source():
    known = [c for c in cards() if c.top1 is not None and not c.bundled]
    assert len(known) > 80
    for c in known:
        assert c.top1.evidence is Evidence.PUBLISHED
        assert c.top1.unit == "share"
        assert 0.4 < c.top1.value < 0.9
        assert "results-imagenet.csv" in c.top1.source
        assert c.task == "imagenet"


def test_models_without_imagenet_classes_say_so():
    assert {c.name for c in cards() if c.task == ""} >= {"vit_small_patch14_dinov2.lvd142m", "fastvit_mci0.apple_mclip"}


def test_facts_of_deit_tiny():
    found = card("deit_tiny_patch16_224.fb_in1k")
    assert (found.title, found.family, found.params, found.macs, found.image, found.licence) == (
        "DeiT Tiny patch16 224", "deit", 5_717_416, 1_253_683_200, 224, "apache-2.0",
    )  # fmt: skip
    assert found.top1.value == pytest.approx(0.7219)


def test_a_name_without_its_tag_is_the_zoos_if_timm_means_the_same_weights():
    assert card("deit_tiny_patch16_224").top1 == card("deit_tiny_patch16_224.fb_in1k").top1
    other = card("regnety_160")  # timm's default tag is another one than the zoo's
    assert other.top1 is None
    assert other.params == trace("regnety_160").params


def test_any_timm_classifier_has_a_card():
    found = card("vit_tiny_patch16_384")
    assert (found.params, found.macs, found.image) == (trace(found.name).params, trace(found.name).macs, 384)
    assert (found.top1, found.bundled, found.task) == (None, False, "imagenet")


@pytest.mark.parametrize(
    ("name", "near"),
    [("deit_tyny", "deit_tiny_patch16_224"), ("digits_vit_bas", "digits_vit_base"), ("swin_tiny", "swin_tiny_patch4")],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, near):
    with pytest.raises(VitEdgeError, match=f"did you mean .*{near}"):
        card(name)


@settings(max_examples=25)
@given(st.text(max_size=80))
def test_any_text_is_a_model_or_one_sentence(name):
    try:
        found = card(name)
    except VitEdgeError as error:
        said = str(error)
    else:
        said = ""
        assert isinstance(found, ModelCard)
    assert "\n" not in said
    assert len(said) < 400


def test_titles():
    assert title("swinv2_tiny_window8_256.ms_in1k") == "Swin V2 Tiny window8 256"


def test_what_a_model_is_called():
    assert called("digits_vit_base") == "Digits ViT base"
    assert called("swinv2_tiny_window8_256.ms_in1k") == "Swin V2 Tiny window8 256"
    for stranger in ("test_vit", "mine/gone", "nobody's model"):
        assert called(stranger) == stranger


def test_listing_loads_no_framework():
    weights = Path(vitedge_core.__file__).parents[1] / "assets" / "weights"
    if not all((weights / f"{name}.json").is_file() for name in BUNDLED):
        pytest.skip("the bundled models have no cards yet: run `make train`")
    code = "import sys; from vitedge_core.models.zoo import cards; cards(); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                            cwd=Path(vitedge_core.__file__).parents[1])  # fmt: skip
    assert answer.stdout.strip() == "False"
