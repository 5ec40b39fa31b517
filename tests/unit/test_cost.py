"""What a plan costs, against files and formulas."""

from __future__ import annotations

import itertools
import statistics
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from tiny import HOSTS, network, plan_of

from vitedge_core.cost.memory import weights_in_memory
from vitedge_core.cost.report import Cost, cost
from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence
from vitedge_core.models.trace import trace
from vitedge_core.plan import Kind, Op, Plan

FIGURES = (
    "params",
    "macs",
    "weight_bytes",
    "dense_bytes",
    "peak_memory_bytes",
    "theoretical_macs",
    "theoretical_bytes",
    "two_of_four_bytes",
)


def one_op(**fields: object) -> Plan:
    return Plan("made up", (3, 8, 8), 10, (), (Op("layer", Kind.LINEAR, **fields),))  # type: ignore[arg-type]


@pytest.mark.parametrize("host", HOSTS)
def test_the_float_file_is_foretold_to_half_a_per_cent(host):
    model = network(host)
    written = len(save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))
    report = cost(plan_of(model))
    assert report.weight_bytes.value == pytest.approx(written, rel=5e-3)
    assert report.weight_bytes.value == report.dense_bytes.value
    assert report.weight_bytes.low <= written <= report.weight_bytes.high


def test_counts_are_those_of_the_plan_and_exact():
    plan = trace("digits_vit_base")
    report = cost(plan)
    assert (report.params.value, report.macs.value) == (plan.params, plan.macs)
    assert report.params.is_exact
    assert report.params.evidence is report.macs.evidence is Evidence.MEASURED


def test_every_figure_says_what_it_rests_on():
    report = cost(trace("digits_vit_base"))
    units = {name: getattr(report, name).unit for name in FIGURES}
    assert units == {
        "params": "parameter", "macs": "MAC", "weight_bytes": "byte", "dense_bytes": "byte",
        "peak_memory_bytes": "byte", "theoretical_macs": "MAC", "theoretical_bytes": "byte",
        "two_of_four_bytes": "byte",
    }  # fmt: skip
    evidence = {name: getattr(report, name).evidence.value for name in FIGURES}
    assert evidence["peak_memory_bytes"] == evidence["weight_bytes"] == "predicted"
    assert {evidence[name] for name in FIGURES[5:]} == {"simulated"}
    assert report.figures == {name: getattr(report, name) for name in FIGURES}


def test_an_estimate_says_so():
    from dataclasses import replace

    report = cost(replace(trace("digits_vit_base"), exact=False))
    for quantity in (report.params, report.macs):
        assert quantity.evidence is Evidence.PREDICTED
        assert quantity.low is None
        assert "estimate" in quantity.source


def test_fewer_bits_shrink_only_what_is_packed():
    plan = trace("digits_vit_base")
    layers = [op.path for op in plan.ops if op.weights]
    packed = plan.set_bits(layers, weights=4, activations=8, scales=lambda op: 4 * op.outputs)
    before, after = cost(plan), cost(packed)
    weights, scales = sum(op.weights for op in plan.ops), sum(4 * op.outputs for op in plan.ops if op.weights)
    assert before.weight_bytes.value - after.weight_bytes.value == weights * 4 - weights // 2 - scales
    assert after.dense_bytes.value == before.dense_bytes.value
    assert (after.params, after.macs) == (before.params, before.macs)
    assert after.peak_memory_bytes.value < before.peak_memory_bytes.value
    assert after.peak_memory_bytes.evidence is Evidence.SIMULATED


def test_odd_bits_fill_the_last_byte():
    assert cost(one_op(weights=3, w_bits=3)).weight_bytes.value == 8 + 2


def test_zeros_change_nothing_but_the_theoretical_figures():
    plan = trace("digits_vit_base")
    sparse = plan.set_zeros({op.path: op.weights * 3 // 4 for op in plan.ops if op.weights})
    before, after = cost(plan), cost(sparse)
    for name in FIGURES[:5]:
        assert getattr(after, name) == getattr(before, name)
    products = sum(op.macs for op in plan.ops if op.weights)
    others = plan.macs - products
    assert after.theoretical_macs.value == pytest.approx(others + products / 4, rel=1e-6)
    assert after.theoretical_bytes.value < 0.6 * after.weight_bytes.value
    assert before.theoretical_macs.value == before.macs.value
    assert before.theoretical_bytes.value == before.weight_bytes.value


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("bits", [32, 8, 4, 2])
def test_sparse_rows_against_a_real_sparse_matrix(bits):
    """Values at their bits, one column index each, a pointer for each row and one behind the last."""
    weight = torch.where(torch.rand(40, 300, generator=torch.Generator().manual_seed(0)) < 0.1, 1.0, 0.0)
    csr = weight.to_sparse_csr()
    left = csr.values().numel()
    written = -(-left * bits // 8) + csr.col_indices().numel() * 2 + csr.crow_indices().numel() * 4
    dense = -(-12_000 * bits // 8)
    plan = one_op(rows=1, inputs=300, outputs=40, weights=12_000, zeros=12_000 - left, w_bits=bits)
    assert cost(plan).theoretical_bytes.value == 8 + min(written, dense)


def test_few_zeros_are_better_kept_dense():
    report = cost(one_op(rows=1, inputs=300, outputs=40, weights=12_000, zeros=12))
    assert report.theoretical_bytes.value == report.weight_bytes.value


@pytest.mark.parametrize("bits", [32, 16, 8, 4])
def test_the_format_for_two_of_four_against_one_written_out(bits):
    """Of every four weights of a row two values are kept, and for each of them two bits."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.rand(40, 75, 4, generator=generator)
    weight = torch.where(groups >= groups.sort(-1).values[..., 2:3], 1.0, 0.0).reshape(40, 300)
    kept = weight.reshape(40, 75, 4).nonzero()
    assert len(kept) == 6_000
    assert int(kept[:, 2].max()) < 2**2
    written = -(-len(kept) * bits // 8) + len(kept) * 2 // 8
    plan = one_op(rows=1, inputs=300, outputs=40, weights=12_000, zeros=6_000, w_bits=bits, pattern="2:4")
    assert cost(plan).two_of_four_bytes.value == 8 + written
    assert "2:4 format, half of the values" in cost(plan).two_of_four_bytes.source


def test_zeros_anywhere_are_not_sold_as_a_pattern():
    plan = trace("digits_vit_base")
    sparse = plan.set_zeros({op.path: op.weights * 3 // 4 for op in plan.ops if op.weights})
    assert "would have to be pruned anew in that pattern" in cost(sparse).two_of_four_bytes.source
    patterned = plan.set_zeros({op.path: op.weights // 2 for op in plan.ops if op.weights}, "2:4")
    assert "anew" not in cost(patterned).two_of_four_bytes.source


@pytest.mark.parametrize("fields", [{"zeros": 5_999}, {"zeros": 12_000, "inputs": 302, "weights": 12_080}])
def test_too_few_zeros_or_odd_rows_fit_no_pattern(fields):
    report = cost(one_op(**{"rows": 1, "inputs": 300, "outputs": 40, "weights": 12_000, **fields}))
    assert report.two_of_four_bytes.value == report.weight_bytes.value
    assert "could hold none" in report.two_of_four_bytes.source


def test_kinds_hold_all_that_is_read_and_written():
    plan = trace("digits_vit_base")
    one, many = cost(plan), cost(plan, 3)
    assert sum(part.read_bytes for part in one.by_kind) == 4 * sum(op.reads for op in plan.ops)
    assert sum(part.written_bytes for part in one.by_kind) == 4 * sum(op.writes for op in plan.ops)
    for single, three in zip(one.by_kind, many.by_kind, strict=True):
        assert (three.macs, three.read_bytes, three.weight_bytes) == (
            3 * single.macs, 3 * single.read_bytes, single.weight_bytes,
        )  # fmt: skip
    mlp = next(part for part in many.by_kind if part.label == "MLP")
    assert mlp.to_dict()["macs_per_byte"] > next(p for p in one.by_kind if p.label == "MLP").intensity


@pytest.mark.parametrize("name", ["digits_vit_base", "digits_swin", "digits_convnet", "mobilevit_xxs"])
def test_parts_add_up(name):
    report = cost(trace(name))
    for parts in (report.by_block, report.by_kind):
        assert sum(part.macs for part in parts) == report.macs.value
        assert sum(part.params for part in parts) == report.params.value
        assert sum(part.weight_bytes for part in parts) + 8 == report.weight_bytes.value
        assert len({part.label for part in parts}) == len(parts)


def test_blocks_are_listed_in_the_order_of_the_network():
    labels = [part.label for part in cost(trace("digits_vit_base")).by_block]
    assert labels == ["patch_embed", "embeddings", *(f"blocks.{i}" for i in range(6)), "norm", "head"]
    block = cost(trace("digits_vit_base")).by_block[2]
    assert block.intensity == block.macs / (block.read_bytes + block.written_bytes + block.weight_bytes)


@given(st.integers(1, 64))
def test_a_batch_multiplies_work_and_activations_but_no_weights(batch):
    plan = trace("digits_vit_base")
    one, many = cost(plan), cost(plan, batch)
    assert many.macs.value == batch * one.macs.value
    assert many.weight_bytes == one.weight_bytes
    weights = weights_in_memory(plan)
    assert many.peak_memory_bytes.value - weights == batch * (one.peak_memory_bytes.value - weights)


@pytest.mark.parametrize("batch", [0, -1, 65_537, 1.5, True, "2"])
def test_an_impossible_batch_is_said_in_one_sentence(batch):
    with pytest.raises(VitEdgeError, match=r"A batch has 1 to 65536 images, not .+\."):
        cost(trace("digits_vit_base"), batch)


def test_a_report_takes_less_than_five_milliseconds():
    plan = trace("vit_base_patch16_224")

    def once() -> float:
        start = time.perf_counter()
        assert isinstance(cost(plan), Cost)
        return time.perf_counter() - start

    assert statistics.median(once() for _ in itertools.repeat(None, 21)) < 5e-3
