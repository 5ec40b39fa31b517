"""Every engine says what the eager model says, or says in a sentence why it cannot.

A new engine is tested here the moment it is listed, on the networks and methods of `cases`. Each network is exported
once for all engines; an export takes seconds, so all but two are slow tests.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import logging
import re
import tempfile
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from referee import carried_out, hooks_on, same, state_of
from torch import Tensor, nn

import vitedge_core.techniques  # noqa: F401  fills the registry
from vitedge_core.backends import ENGINES, engine
from vitedge_core.backends import onnxruntime as ort
from vitedge_core.backends.base import Artefact, Engine, Source
from vitedge_core.convert import onnx as converter
from vitedge_core.convert.engine_form import for_engines
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.plan import Plan
from vitedge_core.recipe import Scalar
from vitedge_core.registry import technique, techniques
from vitedge_core.surgery.replace import grids, quantised_layers

SENTENCE = re.compile(r"\w.{20,300}[.!\w)]")
UNTOUCHED = ""
QUICK_HERE = {"onnxruntime": UNTOUCHED, "openvino-int8": "uniform_ptq"}  # on the plain network; each takes an export
LONG_ONES = (("plain", UNTOUCHED), ("plain", "uniform_ptq"), ("plain", "tome"), ("swin", UNTOUCHED))
MILD: dict[str, dict[str, Scalar]] = {
    "tome": {"r": 2},
    "soft_logits": {"images": 16, "seconds": 20},
    "proxyless": {"images": 16, "seconds": 20, "depth": False},
}
# largest difference of a logit from eager, as a share of the range of the eager logits
FLOAT32, BFLOAT16 = 1e-4, 3e-2
OWN_SCALES = 5e-2  # the same integers, but a value in the middle of two may fall to either side
OWN_CALIBRATION = 0.25  # of networks whose weights are drawn by lot, from twelve images of noise
EXACT = {"eager", "onnxruntime", "openvino", "compiled"}
HALF = {"openvino-bf16", "compiled-bf16"}


def tolerance(which: Engine, plan: Plan) -> float:
    if which.key in EXACT:
        return FLOAT32
    if which.key in HALF:
        return BFLOAT16
    return OWN_SCALES if plan.quantised else OWN_CALIBRATION


@pytest.fixture(scope="module", autouse=True)
def shared_exports() -> Iterator[Any]:
    """The same network is exported once for all engines that ask for it; they get copies. Gives the export itself."""
    made: dict[str, Any] = {}
    export = converter._exported

    def once(model: nn.Module, example: Tensor, cancelled: Any, *, rows: bool) -> Any:
        key = f"{rows}{model!r}" + "".join(map(digest, [*model.parameters(), *model.buffers()]))
        if key not in made:
            made[key] = export(model, example, cancelled, rows=rows)
        copied = type(made[key])()
        copied.CopyFrom(made[key])
        return copied

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(converter, "_exported", once)
        yield export


def digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest()


_carried: dict[tuple[str, str], tuple[nn.Module, Plan] | str] = {}


def compressed(host: str, key: str) -> tuple[nn.Module, Plan]:
    """A tiny network after a method, made once; skips where the method says that it cannot."""
    if (host, key) not in _carried:
        model = tiny.network(host)
        plan = tiny.plan_of(model)
        _carried[host, key] = _after(model, plan, key) if key else (model, plan)
    found = _carried[host, key]
    if isinstance(found, str):
        pytest.skip(found)
    return found


def _after(model: nn.Module, plan: Plan, key: str) -> tuple[nn.Module, Plan] | str:
    method = technique(key).from_knobs(MILD.get(key, {}))
    return method.supports(plan) or carried_out(method, model, plan, tiny.context())


def source(model: nn.Module, plan: Plan, **changes: Any) -> Source:
    return Source(model, plan, tiny.images(1), lambda: tiny.images(12, 3), **changes)


def built(which: Engine, model: nn.Module, plan: Plan) -> Artefact:
    """What the engine makes of it; skips where the engine says that it cannot."""
    for why in (which.missing(), which.supports(plan)):
        if why:
            assert SENTENCE.fullmatch(why), f"not one sentence: {why!r}"
            pytest.skip(why)
    return which.build(source(model, plan))


def agrees(artefact: Artefact, model: nn.Module, limit: float, batch: int, seed: int) -> None:
    images = tiny.images(batch, seed)
    with torch.no_grad():
        want = model(images)
    got = artefact.open(1, batch)(images).clone()
    assert got.dtype == torch.float32
    assert got.shape == want.shape
    span = want.max() - want.min()
    assert (got - want).abs().max() / span < limit
    sure = (want.topk(2).values.diff().abs().flatten() / span) > limit  # what no allowed difference can turn
    assert torch.equal(got.argmax(1)[sure], want.argmax(1)[sure])


METHODS = (UNTOUCHED, *(cls.card.key for cls in techniques()))


def cases() -> Iterator[Any]:
    """Engine, network, method."""
    for which, host, key in itertools.product(ENGINES, tiny.HOSTS, METHODS):
        here = host == "plain" and QUICK_HERE.get(which.key) == key
        typical = host in {"plain", "swin"} or key in {UNTOUCHED, "uniform_ptq", "tome"}
        if which.waits and (host, key) not in LONG_ONES:
            continue  # a minute each
        if typical:
            marks = () if here else (pytest.mark.slow,)
            yield pytest.param(which, host, key, marks=marks, id=f"{which.key}-{host}-{key or 'untouched'}")


@pytest.mark.parametrize(("which", "host", "key"), list(cases()))
def test_it_says_what_eager_says_or_why_not(which, host, key):
    """For one image and for five, and the model it was built from stays as it is."""
    model, plan = compressed(host, key)
    before = state_of(model)
    artefact = built(which, model, plan)
    assert same(before, state_of(model))
    assert not list(hooks_on(model))
    assert not model.training
    for batch, seed in ((1, 7), (1, 8), (5, 9)):
        agrees(artefact, model, tolerance(which, plan), batch, seed)
    assert artefact.bytes > 0
    assert artefact.seconds >= 0
    assert all(5 < len(fact) < 200 for fact in artefact.facts)
    step = which.own_step(plan)
    assert step is None or SENTENCE.fullmatch(step)


PROMPT = [which for which in ENGINES if not which.waits and which.key != "eager"]
FIXED = ["onnxruntime-int8", "openvino-int8"]


@pytest.fixture(scope="module")
def float_ones() -> dict[str, Artefact]:
    model, plan = compressed("plain", UNTOUCHED)
    return {key: built(engine(key), model, plan) for key in ("onnxruntime", "openvino")}


@pytest.fixture(scope="module")
def own_scales() -> dict[str, Artefact]:
    """Of a network on its recipe's own 8-bit grids."""
    model, plan = compressed("plain", "uniform_ptq")
    return {key: built(engine(key), model, plan) for key in FIXED}


@pytest.mark.slow
@pytest.mark.parametrize("key", ["onnxruntime", "openvino"])
def test_two_threads_may_use_one_artefact(float_ones, key):
    """Each with a runner of its own."""
    model, _ = compressed("plain", UNTOUCHED)
    inputs = [tiny.images(1 + number, number) for number in range(2)]
    with torch.no_grad():
        wanted = [model(images) for images in inputs]
    right: list[bool] = []

    def work(number: int) -> None:
        runner = float_ones[key].open(1, len(inputs[number]))
        right.extend(torch.allclose(runner(inputs[number]), wanted[number], atol=1e-3) for _ in range(20))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(right) == 40
    assert all(right)


@pytest.mark.slow
@pytest.mark.parametrize("key", FIXED)
def test_most_products_are_really_integer_ones(own_scales, key):
    """Counted in the graph that is carried out: four linear layers of each block at least."""
    _, plan = compressed("plain", "uniform_ptq")
    counts = [re.match(r"(\d+) of (\d+) ", fact) for fact in own_scales[key].facts]
    integer = [int(count[1]) for count in counts if count]
    assert len(integer) == 1
    assert integer[0] >= 4 * len(plan.blocks)


@pytest.mark.slow
@pytest.mark.parametrize("cut_off", [False, True])
def test_the_file_has_the_scales_of_the_grids(monkeypatch, cut_off):
    """In signed codes, or in unsigned ones for a processor that would cut sums of others off."""
    import onnx
    from onnx.numpy_helper import to_array

    monkeypatch.setattr(converter, "cuts_sums_off", lambda: cut_off)
    model, _ = compressed("plain", "uniform_ptq")
    proto = converter.integer_onnx(model, tiny.images(1))
    onnx.checker.check_model(proto)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", converter.OPSET)]
    kept = {tensor.name: to_array(tensor) for tensor in proto.graph.initializer}
    pairs = {"QuantizeLinear": [], "DequantizeLinear": []}
    for node in proto.graph.node:
        if node.op_type in pairs:
            pairs[node.op_type].append([kept.get(name) for name in node.input])
    of_weights = {id(layer.weight_grid) for _, layer in quantised_layers(model)}
    steps = sorted(float(grid.step) for _, grid in grids(model) if id(grid) not in of_weights)
    assert sorted(float(step) for _, step, _ in pairs["QuantizeLinear"]) == steps
    weights = [inputs for inputs in pairs["DequantizeLinear"] if inputs[0] is not None]
    for _, layer in quantised_layers(model):
        rounded = layer.weight_grid(layer.weight).detach().numpy()
        shape = (-1, *(1,) * (rounded.ndim - 1))
        restored = ((codes.astype(np.float32) - zero.reshape(shape)) * step.reshape(shape)
                    for codes, step, zero in weights if codes.shape == rounded.shape)  # fmt: skip
        assert any(np.array_equal(rounded, values) for values in restored)
        assert all(codes.dtype == (np.uint8 if cut_off else np.int8) for codes, *_ in weights)


@pytest.mark.slow
@pytest.mark.parametrize("key", FIXED)
def test_unsigned_codes_are_exact_on_every_processor(monkeypatch, key):
    """A network whose sums of products are large: signed codes would be cut off where there is no VNNI."""
    monkeypatch.setattr(converter, "cuts_sums_off", lambda: True)
    model, plan = compressed("plain", "uniform_ptq")
    loud = copy.deepcopy(model)
    for _, layer in quantised_layers(loud):
        with torch.no_grad():
            layer.weight.copy_(127 * layer.weight_grid.step * layer.weight.sign())
    agrees(built(engine(key), loud, plan), loud, OWN_SCALES, 5, 9)


@pytest.mark.slow
def test_integers_make_the_file_smaller():
    float_model, _ = compressed("plain", UNTOUCHED)
    model, _ = compressed("plain", "uniform_ptq")
    sizes = [proto.ByteSize() for proto in (
        converter.float_onnx(float_model, tiny.images(1)), converter.integer_onnx(model, tiny.images(1))
    )]  # fmt: skip
    saved = sum(layer.weight.numel() for _, layer in quantised_layers(model)) * 3
    assert sizes[0] - sizes[1] > 0.8 * saved


ODD = ({"w_bits": 3, "a_bits": 3}, {"w_bits": 2, "a_bits": 8}, {"w_bits": 8, "a_bits": 4})


@pytest.mark.parametrize("which", [which for which in ENGINES if which.key != "eager"], ids=lambda which: which.key)
@pytest.mark.parametrize("bits", ODD, ids=str)
def test_bits_that_no_engine_has_are_refused(which, bits):
    plan = technique("uniform_ptq").from_knobs(bits).plan(tiny.plan_of(tiny.network("plain")))
    why = which.supports(plan)
    assert why is not None
    assert SENTENCE.fullmatch(why)
    with pytest.raises(VitEdgeError):
        which.build(source(tiny.network("plain"), plan))


@pytest.mark.parametrize("key", FIXED)
def test_int8_needs_both_sides(key):
    plan = technique("uniform_ptq").from_knobs({"w_bits": 8, "a_bits": 32}).plan(tiny.plan_of(tiny.network("plain")))
    assert "8-bit activations" in str(engine(key).supports(plan))


@pytest.mark.slow
def test_few_bits_of_weights_are_numbers_like_others_to_a_float_engine():
    model = tiny.network("plain")
    method = technique("uniform_ptq").from_knobs({"w_bits": 3, "a_bits": 32})
    model, plan = carried_out(method, model, tiny.plan_of(model), tiny.context())
    assert engine("openvino").supports(plan) is None
    agrees(built(engine("onnxruntime"), model, plan), model, FLOAT32, 5, 9)


@pytest.mark.parametrize("which", [which for which in ENGINES if which.modules], ids=lambda which: which.key)
def test_what_is_not_installed_is_told_with_the_line_that_installs_it(which, monkeypatch):
    from vitedge_core.backends import base

    monkeypatch.setattr(base, "find_spec", lambda name: None)
    why = which.missing()
    assert why is not None
    assert which.pip in why
    assert which.pip.startswith("pip install ")
    model, plan = compressed("plain", UNTOUCHED)
    with pytest.raises(VitEdgeError, match="not installed"):
        which.build(source(model, plan))


class Undecided(nn.Module):
    """Branches on what it sees, which no graph can."""

    def forward(self, images: Tensor) -> Tensor:
        rows = images.flatten(1)[:, :10]
        return rows if rows.sum() > 0 else rows * 2


@pytest.mark.slow
@pytest.mark.parametrize("which", PROMPT, ids=lambda which: which.key)
def test_a_model_that_it_cannot_follow_is_told_in_a_sentence(which):
    plan = tiny.plan_of(tiny.network("plain"))
    with pytest.raises(VitEdgeError) as told:
        which.build(source(Undecided().eval(), plan))
    assert SENTENCE.fullmatch(str(told.value))
    assert "choose" in str(told.value)


def test_a_graph_that_it_cannot_run_is_told_in_a_sentence():
    for content in (b"", b"no graph at all", bytes(range(256))):
        with pytest.raises(VitEdgeError, match="ONNX Runtime cannot run this model"):
            ort.OrtArtefact(content, (), 0.0).open()


@pytest.mark.slow
@pytest.mark.parametrize("which", PROMPT, ids=lambda which: which.key)
def test_cancelling_leaves_no_file(which, monkeypatch, tmp_path):
    """Asked to stop at any moment it raises, and the folder of temporary files is empty."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model, plan = compressed("plain", UNTOUCHED)
    which.build(source(model, plan))  # from now on its export is shared
    questions = itertools.count()
    which.build(source(model, plan, cancelled=lambda: next(questions) < 0))
    asked = next(questions)
    assert asked >= 1
    assert not list(tmp_path.iterdir())
    before = state_of(model)
    for moment in {0, asked // 2, asked - 1}:
        questions = itertools.count()
        with pytest.raises(Cancelled):
            which.build(source(model, plan, cancelled=lambda q=questions, m=moment: next(q) >= m))
        assert not list(tmp_path.iterdir())
    assert same(before, state_of(model))


@pytest.mark.slow
def test_an_export_asks_before_and_after(shared_exports):
    """A shared export does not, so here is one that is not."""
    model = tiny.network("convnet")
    for moment in (0, 1):
        questions = itertools.count()
        with pytest.raises(Cancelled):
            shared_exports(model, tiny.images(1), lambda q=questions, m=moment: next(q) >= m, rows=True)


@pytest.mark.slow
def test_calibration_images_are_asked_for_only_where_they_are_needed(own_scales, float_ones):
    model, plan = compressed("plain", UNTOUCHED)
    asked: list[int] = []

    def calibration() -> Tensor:
        asked.append(1)
        return tiny.images(2)

    for which in PROMPT:
        asked.clear()
        which.build(Source(model, plan, tiny.images(1), calibration))
        assert len(asked) == (1 if which.key in FIXED else 0)
        assert (which.own_step(plan) is None) == (which.key in EXACT)


@pytest.mark.slow
def test_nothing_of_the_process_is_left_changed(capfd):
    """Not a level of a logger, a filter of warnings, a number of threads or the mode of gradients; nothing printed."""
    import nncf  # noqa: F401  its first import sets the level of its own logger

    model = tiny.network("plain", 4)
    before = _process()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for key in ("onnxruntime-int8", "openvino-int8", "openvino-compressed"):
            engine(key).build(source(model, tiny.plan_of(model)))
    assert _process() == before
    assert not [str(one.message) for one in seen]
    assert capfd.readouterr() == ("", "")


def _process() -> tuple[object, ...]:
    levels = {name: logging.getLogger(name).level for name in ("", "torch.onnx", "onnxscript", "nncf", "openvino")}
    random = (torch.get_rng_state().sum().item(), np.random.get_state()[1].sum())
    return levels, torch.get_num_threads(), torch.is_grad_enabled(), len(warnings.filters), random


@pytest.mark.slow
def test_the_precision_of_openvino_is_what_was_asked_for(float_ones):
    assert any("f32" in fact for fact in float_ones["openvino"].facts)
    compiled = float_ones["openvino"].compiled(1, 1)  # type: ignore[attr-defined]
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"


@pytest.mark.slow
def test_compressed_weights_of_openvino_stay_compressed_when_it_runs():
    """Behind Gemm it unfolds them to floats."""
    model, plan = compressed("plain", UNTOUCHED)
    linear = sum(isinstance(layer, nn.Linear) for layer in for_engines(model).modules())
    told = next(fact for fact in built(engine("openvino-compressed"), model, plan).facts if "in int8" in fact)
    assert told.startswith(f"{linear} of ")


@pytest.mark.slow
def test_progress_grows_and_ends_at_one():
    model, plan = compressed("plain", UNTOUCHED)
    for which in PROMPT:
        shares: list[float] = []
        which.build(source(model, plan, report=lambda share, sentence, kept=shares: kept.append(share)))
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
