"""Weights from their four places, and checkpoints from strangers."""

from __future__ import annotations

import io
import os
import pickle
import urllib.request
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save, save_file

from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.models import checkpoint, hub, own
from vitedge_core.models import load as loading
from vitedge_core.models.load import fingerprint, has_weights, load, load_checkpoint, preprocessing, save_own
from vitedge_core.models.trace import trace
from vitedge_core.models.zoo import called, card, cards

SMALL = "digits_vit_small"


@pytest.fixture(autouse=True)
def _by_oneself(monkeypatch, tmp_path):
    """No network, no weights of the machine's, a data folder for this test alone."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("VITEDGE_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("VITEDGE_WEIGHTS", raising=False)
    monkeypatch.setattr(hub, "_answers", {})
    monkeypatch.setattr(hub, "cached", lambda name: None)
    monkeypatch.setattr(loading, "_masters", loading._Masters())


def network(name: str = SMALL, seed: int = 1, **sizes: int) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(name, **sizes).eval()


def pickled(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_without_weights_there_are_costs_and_advice():
    loaded = load("test_vit")
    assert loaded.weights is None
    assert "test_vit.r160_in1k.safetensors" in loaded.note
    assert "VITEDGE_WEIGHTS" in loaded.note
    assert not has_weights("test_vit")
    assert fingerprint("test_vit") == ""
    assert not loaded.model.training


def test_loading_leaves_everybodys_random_numbers_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load("test_vit")
    assert torch.equal(torch.rand(3), expected)


def test_weights_from_the_folder_the_user_names(monkeypatch, tmp_path):
    trained = network("test_vit", seed=3)
    save_file(trained.state_dict(), tmp_path / "test_vit.r160_in1k.safetensors")
    monkeypatch.setenv("VITEDGE_WEIGHTS", str(tmp_path))
    for name in ("test_vit", "test_vit.r160_in1k"):
        loaded = load(name)
        assert "test_vit.r160_in1k.safetensors" in loaded.weights
        assert same(loaded.model, trained)
        assert has_weights(name)
        assert len(fingerprint(name)) == 16


def test_every_load_is_a_copy_of_its_own(monkeypatch, tmp_path):
    save_file(network("test_vit").state_dict(), tmp_path / "test_vit.r160_in1k.safetensors")
    monkeypatch.setenv("VITEDGE_WEIGHTS", str(tmp_path))
    first = load("test_vit").model
    with torch.no_grad():
        first.head.weight.zero_()
    second = load("test_vit").model
    assert second.head.weight.abs().sum() > 0
    assert second.head.weight.dtype is torch.float32
    assert not second.training


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\xff" * 64])
def test_damaged_weights_are_said_in_one_sentence(monkeypatch, tmp_path, content):
    (tmp_path / "test_vit.r160_in1k.safetensors").write_bytes(content)
    monkeypatch.setenv("VITEDGE_WEIGHTS", str(tmp_path))
    with pytest.raises(VitEdgeError, match="does not hold the weights of test_vit"):
        load("test_vit")


def test_weights_of_another_model_are_said_in_one_sentence(monkeypatch, tmp_path):
    save_file(network(SMALL).state_dict(), tmp_path / "test_vit.r160_in1k.safetensors")
    monkeypatch.setenv("VITEDGE_WEIGHTS", str(tmp_path))
    with pytest.raises(VitEdgeError, match="does not hold the weights of test_vit") as caught:
        load("test_vit")
    assert "\n" not in str(caught.value)


def test_real_imagenet_weights():
    folder = os.environ.get("VITEDGE_WEIGHTS_OF_TESTS") or _named_before
    if not folder:
        pytest.skip("VITEDGE_WEIGHTS names no folder with deit_tiny_patch16_224.fb_in1k.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITEDGE_WEIGHTS", folder)
        loaded = load("deit_tiny_patch16_224")
    assert loaded.weights is not None
    assert float(loaded.model.head.weight.detach().std()) == pytest.approx(0.0474, abs=1e-3)


_named_before = os.environ.get("VITEDGE_WEIGHTS")  # read before the fixture hides it


def test_the_hub_is_asked_once_and_its_silence_remembered(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    asked = []

    def silent(*_: object, **__: object) -> None:
        asked.append(1)
        raise OSError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", silent)
    assert [hub.reachable() for _ in range(5)] == [False] * 5
    assert not has_weights("test_vit")
    assert len(asked) == 1


def test_a_download_that_fails_is_no_error(monkeypatch):
    monkeypatch.setattr(hub, "reachable", lambda: True)

    def broken(name: str, **arguments: object) -> torch.nn.Module:
        if arguments.get("pretrained"):
            raise OSError("connection reset\nby peer")
        return network("test_vit")

    monkeypatch.setattr(loading, "build", broken)
    loaded = load("test_vit")
    assert loaded.weights is None
    assert loaded.note.startswith("The download of test_vit failed: connection reset.")


def test_preprocessing():
    assert preprocessing(SMALL).size == 48
    imagenet = preprocessing("deit_tiny_patch16_224")
    assert (imagenet.size, imagenet.crop, imagenet.interpolation) == (224, 0.9, "bicubic")
    assert imagenet.mean == (0.485, 0.456, 0.406)


def test_a_model_of_ones_own_can_be_chosen_everywhere():
    student = network()
    top1 = Quantity(0.9, "share", Evidence.MEASURED, "2,000 test images", 0.88, 0.92)
    kept = save_own(student, SMALL, "Student of Ada", {"teacher": "digits_convnet"}, top1=top1)
    assert kept.name == "mine/student-of-ada"
    assert kept == card(kept.name)
    assert kept in cards()
    assert (kept.top1, kept.task, kept.params) == (top1, "digits", trace(SMALL).params)
    loaded = load(kept.name)
    assert same(loaded.model, student)
    assert loaded.weights == "your own"
    assert own.facts(kept.name)["facts"] == {"teacher": "digits_convnet"}
    assert trace(kept.name).macs == trace(SMALL).macs
    assert preprocessing(kept.name) == preprocessing(SMALL)
    own.forget(kept.name)
    with pytest.raises(VitEdgeError, match="There is no model"):
        load(kept.name)


def test_two_of_the_same_title_are_two_models():
    names = [save_own(network(seed=seed), SMALL, "Größe: ÄÖ!").name for seed in (1, 2, 3)]
    assert names == ["mine/gr-e", "mine/gr-e-2", "mine/gr-e-3"]
    assert [called(name) for name in names] == ["Größe: ÄÖ!", "Größe: ÄÖ! (mine/gr-e-2)", "Größe: ÄÖ! (mine/gr-e-3)"]
    assert not same(load(names[0]).model, load(names[1]).model)
    folder = Path(os.environ["VITEDGE_DATA"]) / "models"
    assert sorted(path.name for path in folder.iterdir()) == ["gr-e", "gr-e-2", "gr-e-3"], "no half-written leftovers"


def test_a_cut_model_is_no_longer_its_architecture():
    model = network()
    model.blocks[1].mlp.fc1 = torch.nn.Linear(64, 10)
    with pytest.raises(VitEdgeError, match=r"blocks\.1\.mlp\.fc1\.weight is 10x64 in the checkpoint and 256x64"):
        save_own(model, SMALL, "cut")


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_a_state_dict_from_a_training_script(wrap):
    model = network("test_vit", num_classes=7)
    state = {f"module.{name}": tensor.half() for name, tensor in model.state_dict().items()}
    kept = load_checkpoint(pickled(wrap(state)), "best.pth", "test_vit")
    assert (kept.title, kept.task) == ("best", "")
    loaded = load(kept.name).model
    assert loaded.num_classes == 7
    assert loaded.head.weight.dtype is torch.float32


def test_safetensors_bytes():
    model = network(seed=5)
    kept = load_checkpoint(save(model.state_dict()), "a.safetensors", SMALL, "Mine")
    assert kept.task == "digits"
    assert same(load(kept.name).model, model)


class Bomb:
    """Would leave a mark if anybody unpickled it."""

    mark = Path("/nonexistent")

    def __reduce__(self):
        return Path.touch, (Bomb.mark,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickles_that_run_code_are_refused(tmp_path):
    Bomb.mark = tmp_path / "exploded"
    for data in (pickle.dumps(Bomb()), pickled({"state_dict": Bomb()}), pickled(network())):
        with pytest.raises(VitEdgeError, match="pickles are refused because they can run code"):
            load_checkpoint(data, "model.pth", SMALL)
    assert not Bomb.mark.exists()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "neither a safetensors file nor a plain PyTorch state dict"),
        (b"\x00" * 100, "neither a safetensors"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{" + b"x" * 50, "damaged safetensors file"),
        (pickled({"epoch": 3}), "holds no state dict"),
        (pickled([1, 2]), "holds no state dict"),
        (pickled({}), "holds no state dict"),
        (pickled({"cls_token": torch.ones(2)}), "cls_token is 2 in the checkpoint and 1x1x64 in the model"),
    ],
)
def test_what_is_no_checkpoint_is_said_in_one_sentence(data, sentence):
    with pytest.raises(VitEdgeError, match=sentence) as caught:
        load_checkpoint(data, "odd.bin", SMALL)
    assert "\n" not in str(caught.value)
    assert own.names() == ()


def test_a_checkpoint_of_another_architecture_names_the_first_difference():
    data = pickled(network("test_vit").state_dict())
    with pytest.raises(VitEdgeError, match=r"This is no digits_vit_small: .* in the checkpoint"):
        load_checkpoint(data, "x.pth", SMALL)
    more = {**network().state_dict(), "surplus": torch.ones(1)}
    with pytest.raises(VitEdgeError, match="the checkpoint also has surplus"):
        load_checkpoint(pickled(more), "x.pth", SMALL)
    less = dict(list(network().state_dict().items())[:-1])
    with pytest.raises(VitEdgeError, match=r"the checkpoint has no head\.bias"):
        load_checkpoint(pickled(less), "x.pth", SMALL)


def test_numbers_that_are_none_are_refused():
    state = network().state_dict()
    state["norm.weight"] = torch.full((64,), float("nan"))
    with pytest.raises(VitEdgeError, match="not finite"):
        load_checkpoint(pickled(state), "x.pth", SMALL)


def test_a_checkpoint_may_not_be_of_any_size(monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 10)
    with pytest.raises(VitEdgeError, match="a checkpoint may have"):
        load_checkpoint(b"x" * 11, "x.pth", SMALL)


def test_an_unknown_architecture_is_answered_with_the_nearest():
    with pytest.raises(VitEdgeError, match="did you mean 'digits_vit_small'"):
        load_checkpoint(save(network().state_dict()), "x.safetensors", "digits_vit_smal")


@pytest.mark.parametrize("content", ['{"title": "Mine"}', "no JSON", "[]", ""])
def test_a_damaged_card_is_said_in_one_sentence_and_hides_no_other_model(content):
    other, kept = save_own(network(), SMALL, "Other"), save_own(network(), SMALL, "Mine")
    (own.folder(kept.name) / "card.json").write_text(content)
    with pytest.raises(VitEdgeError, match="is damaged"):
        card(kept.name)
    assert other in cards()
