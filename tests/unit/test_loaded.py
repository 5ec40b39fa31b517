"""Files from strangers: opened as data, or refused in one sentence."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.unit.test_package import RECIPES, carry_out, images
from vitedge_core.errors import VitEdgeError
from vitedge_core.export import package
from vitedge_core.export.loaded import answers_of, load, onnx_content
from vitedge_core.export.passport import Passport
from vitedge_core.models.load import preprocessing
from vitedge_core.recipe import Recipe, Step

RECIPE = Recipe("digits_vit_base", (Step.of("tome", r=4),))
FLOAT = TensorProto.FLOAT


def graph(batch: int | str = "n", side: int = 48, channels: int = 3, classes: int = 10) -> onnx.ModelProto:
    """The mean colour times a matrix."""
    matrix = np.arange(channels * classes, dtype=np.float32).reshape(channels, classes)
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["logits"]),
    ]
    taken = helper.make_tensor_value_info("images", FLOAT, [batch, channels, side, side])
    given = helper.make_tensor_value_info("logits", FLOAT, [batch, classes])
    made = helper.make_graph(nodes, "g", [taken], [given], [numpy_helper.from_array(matrix, "matrix")])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def sealed(model: onnx.ModelProto, **changes: str) -> onnx.ModelProto:
    passport = Passport("onnx", RECIPE, preprocessing("digits_vit_base"), 10, {}, onnx_content(model))
    for key, value in {**passport.entries(), **{f"vitedge.{name}": text for name, text in changes.items()}}.items():
        model.metadata_props.add(key=key, value=value)
    return model


def kept(folder: Path, model: onnx.ModelProto | bytes, name: str = "m.onnx") -> Path:
    path = folder / name
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


def refused(path: Path, words: str) -> None:
    with pytest.raises(VitEdgeError, match=words) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def expected(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.mean((2, 3)) @ torch.arange(30.0).reshape(3, 10)


@pytest.mark.parametrize("batch", ["n", 1, 4])
def test_a_strangers_onnx_is_asked_in_the_batches_it_wants(tmp_path, batch):
    loaded = load(kept(tmp_path, graph(batch)))
    assert (loaded.passport, loaded.side, loaded.classes) == (None, 48, 10)
    assert torch.allclose(loaded.model(images(6)), expected(images(6)), atol=1e-4)


def test_a_file_of_our_own_must_take_any_number_of_images(tmp_path):
    assert answers_of(kept(tmp_path, sealed(graph())), images(3)).shape == (3, 10)
    with pytest.raises(VitEdgeError, match="takes batches of 2 images only"):
        answers_of(kept(tmp_path, sealed(graph(batch=2))), images(4))


def test_our_own_says_what_it_is(tmp_path):
    loaded = load(kept(tmp_path, sealed(graph())))
    assert loaded.recipe == RECIPE
    assert loaded.passport.preparation == preprocessing("digits_vit_base")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x08\x07", bytes(range(256)) * 40, b"PK\x03\x04" + b"\0" * 100])
def test_no_onnx_at_all(tmp_path, data):
    refused(kept(tmp_path, data), "is no ONNX file, or a damaged one")


def test_a_truncated_onnx(tmp_path):
    data = graph().SerializeToString()
    for length in range(20, len(data), 37):
        refused(kept(tmp_path, data[:length]), r"\.$")


def test_a_graph_that_was_changed(tmp_path):
    model = sealed(graph())
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-1] + b"\x01"
    refused(kept(tmp_path, model), "is not the file that was written")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipe": Recipe("digits_vit_base").to_json()}, "not the one its digest names"),
        ({"recipe": "{"}, "no recipe file"),
        ({"recipe": '{"model": "a", "steps": [], "x": 1}'}, "no recipe has"),
        ({"preparation": "{}"}, "says of itself is damaged"),
        ({"preparation": "[" * 3_000}, "says of itself is damaged"),
        ({"classes": "ten"}, "says of itself is damaged"),
        ({"card": "[]"}, "says of itself is damaged"),
        ({"format": "vitedge export 99"}, "another version"),
        ({"content": ""}, "is not the file that was written"),
    ],
)
def test_words_that_lie(tmp_path, changes, words):
    model = sealed(graph())
    for entry in model.metadata_props:
        entry.value = changes.get(entry.key.removeprefix("vitedge."), entry.value)
    refused(kept(tmp_path, model), words)


def test_weights_in_another_file_are_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(b"\0" * 120)
    inside, nested = graph(), graph()
    for model in (inside, nested):
        tensor = model.graph.initializer[0]
        if model is nested:  # hidden in an attribute
            tensor = model.graph.node[0].attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t
            tensor.CopyFrom(model.graph.initializer[0])
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../secret")
        refused(kept(tmp_path, model), "keeps weights in another file")


def test_operations_of_ones_own_are_refused(tmp_path):
    model = graph()
    model.graph.node[0].domain = "evil.corp"
    refused(kept(tmp_path, model), "needs operations of 'evil.corp'")


@pytest.mark.parametrize("model", [graph(channels=4), graph(batch=5_000)], ids=["four colours", "large batch"])
def test_what_takes_no_images(tmp_path, model):
    refused(kept(tmp_path, model), "does not take images")


def test_two_inputs_or_other_numbers(tmp_path):
    two, half = graph(), graph()
    two.graph.input.append(helper.make_tensor_value_info("more", FLOAT, [1]))
    half.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    for model in (two, half):
        refused(kept(tmp_path, model), "does not take images|no ONNX file")


def test_a_runtime_that_stumbles_is_a_sentence(tmp_path):
    loaded = load(kept(tmp_path, graph(side=48)))
    with pytest.raises(VitEdgeError, match=r"ONNX Runtime cannot run this file"):
        loaded.model(torch.zeros(1, 3, 20, 20))


@pytest.mark.parametrize("ending", [".pt2", ".pte", ".pt"])
def test_forms_that_could_run_code_are_not_opened(tmp_path, ending):
    refused(kept(tmp_path, b"never read", "m" + ending), "from elsewhere .* ask for ONNX")


def test_other_files_and_none(tmp_path):
    refused(kept(tmp_path, b"x", "m.tflite"), "is no file that is opened here")
    refused(tmp_path / "nowhere.onnx", "There is no file")
    refused(tmp_path / "nowhere.zip", "There is no file")


def test_size_is_looked_at_before_the_file_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("vitedge_core.export.loaded.MAX_ONNX", 10)
    refused(kept(tmp_path, graph()), "has .* bytes; such a file may have 10")


def ir(folder: Path) -> Path:
    import openvino

    model = openvino.Core().read_model(model=graph().SerializeToString())
    openvino.save_model(model, folder / "m.xml", compress_to_fp16=False)
    return folder / "m.xml"


def test_openvino_of_a_stranger(tmp_path):
    loaded = load(ir(tmp_path))
    assert (loaded.passport, loaded.side, loaded.classes) == (None, 48, 10)
    assert torch.allclose(loaded.model(images(3)), expected(images(3)), atol=1e-4)


@pytest.mark.parametrize(
    ("weights", "more", "problem"),
    [
        ("m.bin", (), ""), ("../m.bin", (), "is no package"), ("n.bin", (), "is no package"),
        ("m.bin", ("x.onnx",), "is no package"),
    ],
)  # fmt: skip
def test_openvino_in_one_zip_as_it_is_saved_here(tmp_path, weights, more, problem):
    graph, packed = ir(tmp_path), tmp_path / "both.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(graph, graph.name)
        archive.write(graph.with_suffix(".bin"), weights)
        for name in more:
            archive.writestr(name, "x")
    if problem:
        refused(packed, problem)
        return
    loaded = load(packed)
    assert (loaded.path, loaded.form, loaded.side, loaded.classes) == (packed, "openvino", 48, 10)
    assert torch.allclose(loaded.model(images(3)), expected(images(3)), atol=1e-4)


def test_damaged_openvino_files(tmp_path):
    path = ir(tmp_path)
    whole, weights = path.read_bytes(), path.with_suffix(".bin").read_bytes()
    for xml in (b"", b"<net", b"/etc/passwd", whole[:200], whole.replace(b'offset="0"', b'offset="99999999"'),
                whole.replace(b'type="MatMul"', b'type="Evil"')):  # fmt: skip
        path.write_bytes(xml)
        refused(path, "is no model of OpenVINO, or a damaged one")
    path.write_bytes(whole)
    path.with_suffix(".bin").write_bytes(weights[:7])
    refused(path, "is no model of OpenVINO, or a damaged one")
    path.with_suffix(".bin").unlink()
    refused(path, "There is no file .*m.bin")


def test_weights_that_are_not_those_of_the_graph(tmp_path):
    import openvino

    model = openvino.Core().read_model(model=graph().SerializeToString())
    passport = Passport("openvino", RECIPE, preprocessing("digits_vit_base"), 10, {}, "0" * 64)
    for key, value in passport.entries().items():
        model.set_rt_info(value, key.split("."))
    openvino.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    refused(tmp_path / "m.xml", "m.bin is not the one that was written with the .xml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return package.write(*carry_out(*RECIPES[0]), tmp_path_factory.mktemp("p") / "p", {})


def zipped(folder: Path, path: Path, **more: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
        for name, text in more.items():
            archive.writestr(name, text)
    return path


def test_a_package_as_folder_or_zip(folder, tmp_path):
    for path in (folder, zipped(folder, tmp_path / "p.zip")):
        loaded = load(path)
        assert (loaded.form, loaded.recipe, loaded.classes) == ("package", Recipe("digits_vit_base"), 10)


def test_archives_that_lead_elsewhere_or_unfold_without_end(folder, tmp_path):
    refused(zipped(folder, tmp_path / "a.zip", **{"../evil": "x"}), "is no package")
    refused(zipped(folder, tmp_path / "b.zip", **{"/evil": "x"}), "is no package")
    refused(kept(tmp_path, b"PK nothing", "c.zip"), "is no package")
    with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(package.WEIGHTS, b"\0" * 10_000_000)
    refused(tmp_path / "d.zip", "unfolds to far more")
    assert not (tmp_path.parent / "evil").exists()


def test_a_package_whose_digest_does_not_match(folder, tmp_path):
    card = json.loads((folder / package.CARD).read_text())
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / package.WEIGHTS, package.WEIGHTS)
        archive.writestr(package.RECIPE, RECIPE.to_json())
        archive.writestr(package.CARD, json.dumps(card))
    refused(path, "recipe.json is not the file that was written")
