"""What a runtime sees of a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny import HOSTS, network, plan_of

from vitedge_core.cost.features import features
from vitedge_core.experiments.network_features import counted, write
from vitedge_core.models.trace import trace
from vitedge_core.plan import Kind, Op, Plan
from vitedge_core.published.latencies import latency_networks


@pytest.mark.parametrize("host", HOSTS)
def test_no_multiply_accumulate_and_no_parameter_is_lost(host):
    plan = plan_of(network(host))
    assert features(plan).macs == plan.macs
    assert features(plan).parameters == plan.params


def test_the_counts_of_a_plain_vit():
    plan = trace("digits_vit_small")
    found = features(plan)
    blocks = len(plan.blocks)
    assert found.products == 4 * blocks + 2
    assert found.attended_operations == 2 * blocks
    assert found.norms == 2 * blocks + 1
    assert found.convolved_macs == sum(op.macs for op in plan.ops if op.kind is Kind.PATCH_EMBED)
    assert found.narrow_macs == 0


def test_zeros_change_nothing():
    plan = trace("digits_vit_small")
    zeros = {op.path: op.weights // 2 for op in plan.ops if op.weights}
    assert features(plan.set_zeros(zeros)) == features(plan)


def test_batch_norms_are_folded_and_layer_norms_can_be():
    convolutions = trace("digits_convnet")
    batch_norms = [op for op in convolutions.ops if op.kind is Kind.NORM and op.buffers]
    assert features(
        replace(convolutions, ops=tuple(op for op in convolutions.ops if op not in batch_norms))
    ) == replace(features(convolutions), parameters=convolutions.params - sum(op.params for op in batch_norms))
    vit = trace("digits_vit_small")
    assert features(vit, folded_norms=True) == replace(features(vit), norms=0, norm_elements=0)


def test_depthwise_windows_are_narrow_and_a_stem_is_not():
    found = features(trace("mobilenetv2_100"))
    assert found.narrow_products == 17 + 1  # the windows, and one expansion of 16 channels
    assert found.narrow_macs < 0.2 * found.macs


@pytest.mark.parametrize(("inputs", "narrow"), [(9, 1), (49, 1), (16, 1), (27, 0), (64, 0), (147, 0), (169, 0)])
def test_narrow_is_a_window_over_one_channel_or_a_small_group(inputs, narrow):
    op = Op("conv", Kind.CONVOLUTION, rows=100, inputs=inputs, outputs=8, weights=8 * inputs)
    found = features(Plan("", (3, 10, 10), 10, (), (op,)))
    assert (found.narrow_products, found.products) == (narrow, 1 - narrow)
    assert (found.narrow_macs, found.convolved_macs) == (op.macs * narrow, op.macs * (1 - narrow))


def test_compressed_plans_count_their_own_layers():
    plan = trace("digits_vit_small")
    pruned = plan.keep_hidden(0, plan.blocks[0].hidden // 2)
    assert features(pruned).dense_macs < features(plan).dense_macs
    assert features(pruned).attended_macs == features(plan).attended_macs
    assert features(plan.drop_blocks({1})).norms == features(plan).norms - 2


@pytest.mark.parametrize("printed", ["mobilenet_v2", "vit_tiny_bn 224x224x3", "levit_128s"])
def test_networks_traced_again_agree_with_the_table(printed):
    line = {name: str(value) for name, value in counted(printed).items()}
    known = latency_networks()[printed]
    assert (line.pop("network"), line.pop("image"), line.pop("lacking"), line.pop("model")) == (
        known.network, str(known.image), known.lacking, printed,
    )  # fmt: skip
    assert {name: float(value) for name, value in line.items()} == known.counts


def test_the_table_is_written_with_a_reason_where_timm_lacks_a_network(tmp_path):
    path = write(["digits_vit_small", "segformer_b0 512x512"], tmp_path / "table.csv")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("digits_vit_small,digits_vit_small,48,,0,")
    assert "timm has no such network" in lines[2]
