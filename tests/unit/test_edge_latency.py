"""Predicted latencies of edge devices: their laws, their intervals, and what they refuse."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from vitedge_core.cost.edge_accuracy import EFFICIENCY, LINEAR, NETWORK, OURS, PAIR, accuracy, typical_error
from vitedge_core.cost.edge_interval import Situation
from vitedge_core.cost.edge_latency import EdgeLatencies, OutOfDomain, Prediction, edge_latencies
from vitedge_core.cost.edge_match import matched
from vitedge_core.cost.edge_model import KERNEL, Example, LatencyModel, Point
from vitedge_core.cost.edge_rows import rows
from vitedge_core.cost.edge_surprises import FALL_BACK, FEWER_BITS, surprises
from vitedge_core.cost.edge_target import Target
from vitedge_core.cost.features import features
from vitedge_core.evidence import Evidence
from vitedge_core.models.trace import trace
from vitedge_core.plan import Plan
from vitedge_core.techniques.quantization.uniform_ptq import UniformPtq
from vitedge_core.techniques.tokens.tome import Tome

PI = ("Raspberry Pi 5", "ncnn CPU 4 threads powersave=0", "fp16/fp32 mixed (ncnn default)")
PHONE = ("Samsung Galaxy S24", "tflite [NPU]", "w8a8")
LAPTOP = ("Intel Core i7-12700H laptop", "PyTorch 2.4 torch.compile (timm benchmark)", "fp32")
HAILO = ("Hailo-8 (PCIe host)", "HailoRT", "int8")


@pytest.fixture(scope="module")
def latencies() -> EdgeLatencies:
    return edge_latencies()


@pytest.fixture(scope="module")
def deit() -> Plan:
    return trace("deit_tiny_patch16_224")


def at(latencies: EdgeLatencies, key: tuple[str, str, str]) -> Target:
    return next(target for target in latencies.targets if target.key == key)


def predicted(answer: Prediction | OutOfDomain) -> Prediction:
    assert isinstance(answer, Prediction), answer
    return answer


def reason(answer: Prediction | OutOfDomain) -> str:
    assert isinstance(answer, OutOfDomain)
    assert answer.reason.endswith(".")
    assert "\n" not in answer.reason
    return answer.reason


def test_a_prediction_says_what_it_rests_on(latencies, deit):
    answer = predicted(latencies.predict(deit, at(latencies, PI)))
    assert answer.latency.evidence is Evidence.PREDICTED
    assert "80% interval" in answer.latency.source
    assert answer.latency.low < answer.latency.value < answer.latency.high
    assert answer.floor is not None
    assert 0 < answer.floor.value == deit.macs / 153.6e9 <= answer.latency.value
    assert answer.nearest is not None
    assert answer.nearest.example.target.key == PI
    assert answer.nearest.measured.evidence is Evidence.PUBLISHED
    assert answer.bound in {"compute", "memory", "overhead"}


def test_networks_of_the_rows_are_near_what_was_published(latencies):
    points = [Point(e.target, e.features, e.batch) for e in latencies.examples]
    ratios = [
        predicted(answer).latency.value / example.seconds
        for answer, example in zip(latencies.predict_points(points), latencies.examples, strict=True)
    ]
    assert np.median(np.abs(np.log(ratios))) < 0.06


def test_every_target_has_a_prediction_above_its_peak(latencies, deit):
    for answer in latencies.predict_all(deit, latencies.targets):
        found = predicted(answer)
        assert found.latency.low > 0
        assert found.floor is None or found.latency.low >= found.floor.value


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "digits_vit_base"])
def test_narrower_and_shallower_networks_are_never_slower(latencies, name):
    plan = trace(name)
    ladder = [plan]
    for share in (0.75, 0.5, 0.25):
        narrow = plan
        for index, block in enumerate(plan.blocks):
            narrow = narrow.keep_hidden(index, max(1, int(share * block.hidden)))
        ladder.append(narrow)
    shallow = [plan, *(plan.drop_blocks(set(range(count))) for count in (1, 2, 3))]
    for plans in (ladder, shallow):
        seconds = [[predicted(a).latency.value for a in latencies.predict_all(p, latencies.targets)] for p in plans]
        assert (np.diff(np.log(seconds), axis=0) < 0.02).all()


def test_more_images_take_longer_and_only_batches_that_were_measured(latencies, deit):
    one, eight = (predicted(latencies.predict(deit, at(latencies, HAILO), n)).latency.value for n in (1, 8))
    assert one < eight < 8.5 * one
    assert "batches of 1 and 8" in reason(latencies.predict(deit, at(latencies, HAILO), 4))
    assert "32 images" in reason(latencies.predict(deit, at(latencies, PI), 32))


def test_a_compressed_network_is_predicted_from_its_own_layers(latencies, deit):
    """Half the MACs gone from the MLPs is another latency than half the blocks gone."""
    target = at(latencies, LAPTOP)
    hidden = deit
    for index, block in enumerate(deit.blocks):
        hidden = hidden.keep_hidden(index, block.hidden // 8)
    blocks = deit.drop_blocks(set(range(6)))
    whole, thin, short = (predicted(latencies.predict(p, target)).latency.value for p in (deit, hidden, blocks))
    assert short < thin < whole
    assert thin / whole > 1.05 * hidden.macs / deit.macs


def test_zeros_change_nothing_and_it_says_so(latencies, deit):
    target = at(latencies, PI)
    zeros = deit.set_zeros({op.path: op.weights * 3 // 4 for op in deit.ops if op.weights})
    plain, pruned = (predicted(latencies.predict(plan, target)) for plan in (deit, zeros))
    assert pruned.latency == plain.latency
    assert any("Zeros change nothing" in flag for flag in pruned.flags)


def test_bits_must_be_those_of_the_precision(latencies, deit):
    eight, two = UniformPtq(w_bits=8, a_bits=8).plan(deit), UniformPtq(w_bits=2, a_bits=8).plan(deit)
    assert predicted(latencies.predict(eight, at(latencies, PHONE)))
    floats = at(latencies, (PHONE[0], "tflite [NPU]", "fp16 (AI Hub float)"))
    assert "choose w8a8" in reason(latencies.predict(eight, floats))
    assert all("2" in reason(answer) for answer in latencies.predict_all(two, latencies.targets))


def test_merged_tokens_need_a_runtime_that_sorts(latencies, deit):
    merged = Tome(r=8).plan(deit)
    for key in (PI, HAILO, ("Jetson AGX Orin", "TensorRT", "fp16")):
        assert "merges tokens" in reason(latencies.predict(merged, at(latencies, key)))
    answer = predicted(latencies.predict(merged, at(latencies, LAPTOP)))
    assert any("No published row merges tokens" in flag for flag in answer.flags)


def test_precisions_runtimes_and_devices_nobody_measured_are_out_of_domain(latencies, deit):
    assert "w4a16" in reason(latencies.predict(deit, Target(PHONE[0], PHONE[1], "w4a16")))
    assert "abacus" in reason(latencies.predict(deit, Target(PHONE[0], "abacus", "fp16")))
    assert "does not run on" in reason(latencies.predict(deit, Target("Raspberry Pi 5", "TensorRT", "fp16")))
    assert "Toaster" in reason(latencies.predict(deit, Target("Toaster", PI[1], PI[2])))


def test_a_target_without_rows_falls_back_on_its_parents_with_a_wider_interval(latencies, deit):
    known = predicted(latencies.predict(deit, at(latencies, PI)))
    threads = predicted(latencies.predict(deit, Target(PI[0], "ncnn CPU 3 threads powersave=0", PI[2])))
    device = predicted(latencies.predict(deit, Target("Google Pixel 4 (Snapdragon 855)", PI[1], PI[2])))
    assert widening(known) < widening(threads) < widening(device)
    assert any("Pooled" in flag for flag in device.flags)
    assert 0.7 < threads.latency.value / known.latency.value < 2


def widening(prediction: Prediction) -> float:
    latency = prediction.latency
    assert latency.low is not None
    assert latency.high is not None
    return latency.high / latency.low


def test_far_outside_the_timed_sizes_the_interval_widens_and_it_says_so(latencies, deit):
    target = at(latencies, LAPTOP)
    huge = replace(deit, ops=tuple(replace(op, rows=op.rows * 10_000) for op in deit.ops))
    near, far = (predicted(latencies.predict(plan, target)) for plan in (deit, huge))
    assert widening(far) > 3 * widening(near)
    assert any("times outside the sizes" in flag for flag in far.flags)


def test_a_network_cannot_beat_the_peak(latencies, deit):
    compact = replace(deit, ops=tuple(op for op in deit.ops if op.macs)[:1])
    wide = replace(compact, ops=(replace(compact.ops[0], rows=10**7),))
    answer = predicted(latencies.predict(wide, at(latencies, ("iPhone 12", "CoreML", "fp16"))))
    assert answer.floor is not None
    assert answer.latency.low == answer.latency.value == answer.floor.value
    assert widening(answer) > 1.05
    assert any("Held at the chip's peak" in flag for flag in answer.flags)


def test_residuals_are_of_fits_that_had_not_seen_the_network(latencies):
    found = latencies.residuals_of(at(latencies, PHONE))
    assert len(found) == at(latencies, PHONE).rows == 4
    assert all(residual.ratio == residual.predicted.value / residual.example.seconds for residual in found)
    assert max(abs(math.log(residual.ratio)) for residual in found) > 0.1


def test_held_out_means_are_those_of_a_fit_without_the_rows(latencies):
    examples = latencies.examples[::12]
    model = LatencyModel(examples)
    means, deviations = model.held_out([example.network for example in examples])
    hidden = examples[7].network
    indices = [i for i, example in enumerate(examples) if example.network == hidden]
    others = [i for i in range(len(examples)) if i not in indices]
    process = model._process
    kernel, level = process.kernel_, model.logs.mean()
    table = model.table(examples)
    known = np.linalg.inv(kernel(table[others]) + 1e-8 * np.eye(len(others)))
    cross = kernel(table[indices], table[others])
    expected = cross @ known @ (model.logs[others] - level) + level
    variance = kernel.diag(table[indices]) - np.einsum("ij,jk,ik->i", cross, known, cross)
    assert means[indices] == pytest.approx(expected, abs=1e-6)
    assert deviations[indices] == pytest.approx(np.sqrt(variance), rel=1e-4)


def test_the_committed_kernel_is_fitted_to_these_rows(latencies):
    """It fails when rows or features change by more than a little: then run `make edge-fit`."""
    committed = json.loads(KERNEL.read_text(encoding="utf-8"))
    assert committed["rows"] == len(latencies.examples)
    found = latencies.model._process.log_marginal_likelihood_value_
    assert found == pytest.approx(committed["log_marginal_likelihood"], abs=5)


def test_measurements_of_ones_own_make_a_device_a_target(deit):
    target = Target("My board", "PyTorch eager", "fp32")
    names = ("vit_tiny_patch16_224", "mobilenetv2_100", "levit_128s")
    own = [
        Example(target, features(trace(n)), 1, trace(n).macs / 5e9 + 0.02, n, n, "timed here", own=True) for n in names
    ]
    latencies = EdgeLatencies(own)
    answer = predicted(latencies.predict(deit, at(latencies, target.key)))
    assert answer.latency.value == pytest.approx(deit.macs / 5e9 + 0.02, rel=0.2)
    assert latencies.residuals_of(target)[0].measured.evidence is Evidence.MEASURED
    assert "does not" not in reason(edge_latencies().predict(deit, target))


def test_situations(latencies, deit):
    widths = latencies.widths
    counted = features(deit)
    assert widths.situation(Point(at(latencies, LAPTOP), counted)) is Situation.KNOWN
    assert widths.situation(Point(at(latencies, LAPTOP), replace(counted, norms=3))) is Situation.NEW_NETWORK
    assert widths.situation(Point(Target(LAPTOP[0], "PyTorch eager", "fp32"), counted)) is Situation.NEW_TARGET
    assert widths.situation(Point(Target("x", *LAPTOP[1:]), counted)) is Situation.NEW_DEVICE
    everywhere = {situation: widths.width(situation, "") for situation in Situation}
    assert all(0.5 < width < 2.5 for width in everywhere.values())
    assert widths.width(Situation.KNOWN, "no such engine") == everywhere[Situation.KNOWN]


def test_the_figures_hold_and_beat_the_simpler_models(latencies):
    strict = {(line.method, line.of): line for line in accuracy(latencies, NETWORK)}
    of = "targets with 5 rows or more"
    ours = strict[OURS, of]
    assert ours.rows == 683
    assert ours.median <= 0.10
    assert ours.within_1_5 >= 0.88
    assert 0.75 <= (ours.covered or 0) <= 0.85
    assert strict[EFFICIENCY, of].median == pytest.approx(0.50, abs=0.03)
    assert strict[LINEAR, of].median == pytest.approx(0.25, abs=0.03)
    everything = strict[OURS, "all rows"]
    assert everything.median <= 0.15
    assert 0.75 <= (everything.covered or 0) <= 0.85
    known = {line.of: line for line in accuracy(latencies, PAIR)}
    assert known["all rows"].median <= 0.10
    assert known["all rows"].within_1_5 >= 0.93
    assert 0.75 <= (known["all rows"].covered or 0) <= 0.85


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("Galaxy S24", "onnx", "FP16"), ("Samsung Galaxy S24", "onnx [NPU]", "fp16 (AI Hub float)")),
        (("Raspberry Pi 5 (8GB)", "ncnn CPU 4 threads powersave=0", "fp16"), PI),
        (("Hailo-8", "hailort", "INT8"), HAILO),
        (("intel core i7-12700h LAPTOP", LAPTOP[1].upper(), "float32"), LAPTOP),
        (("Dragonwing RB3 Gen 2 (QCS6490)", "tflite", "w8a8"), ("Dragonwing RB3 Gen 2 Vision Kit", PHONE[1], "w8a8")),
        (("Jetson Nano 4GB", "TensorRT 8.2", "fp16"), ("Jetson Nano 4GB", "TensorRT", "fp16")),
        (("Toaster", "x", "y"), ("Toaster", "x", "y")),
    ],
)
def test_targets_are_found_as_people_write_them(latencies, asked, found):
    assert matched(*asked, latencies.targets).key == found


def test_published_surprises_are_found_by_rule():
    bits = [s for s in surprises("Samsung Galaxy S24", "onnx [NPU]") if s.slower.model.startswith("vit_base")]
    printed = {(s.kind, round(s.faster.seconds * 1e3, 1), round(s.slower.seconds * 1e3, 1)) for s in bits}
    assert {(FEWER_BITS, 7.2, 8.8), (FEWER_BITS, 7.2, 83.1)} <= printed
    fallen = [s for s in surprises("Dragonwing RB3 Gen 2 Vision Kit") if s.slower.model.startswith("vit_base")]
    assert (FALL_BACK, 60, 1117) in {(s.kind, round(s.faster.seconds * 1e3), round(s.slower.seconds * 1e3))
                                     for s in fallen}  # fmt: skip
    everything = surprises()
    for surprise in everything:
        same = (surprise.slower.device, surprise.slower.model)
        npu = [r.published for r in rows() if "[NPU]" in r.published.runtime]
        quickest = min((row.seconds for row in npu if (row.device, row.model) == same), default=math.inf)
        assert surprise.kind == FEWER_BITS or surprise.faster.seconds <= quickest
    assert [s.ratio for s in everything] == sorted((s.ratio for s in everything), reverse=True)
    assert all(s.ratio > 1.1 and s.faster.device == s.slower.device for s in everything)
    assert all(q.evidence is Evidence.PUBLISHED for s in everything for q in s.quantities)


def test_the_typical_error_is_the_middle_one_and_the_factor_holds_eight_of_ten(latencies):
    chosen = latencies.residuals[:10]
    error, factor = typical_error(chosen)
    errors = sorted(abs(residual.ratio - 1) for residual in chosen)
    assert error == pytest.approx((errors[4] + errors[5]) / 2)
    assert sum(max(residual.ratio, 1 / residual.ratio) <= factor for residual in chosen) >= 8
    assert sum(max(residual.ratio, 1 / residual.ratio) < factor for residual in chosen) < 9
