"""The published results: whole, sourced, in range, and only like compared with like."""

from __future__ import annotations

from collections import Counter

import pytest

from vitedge_core.evidence import Evidence
from vitedge_core.models.zoo import cards
from vitedge_core.published.results import FAMILIES, IMAGENET, METRICS, MacsKind, comparable, datasets, results


def test_every_row_is_carried_over_with_its_source():
    assert len(results()) == 1124
    assert all(row.source.strip() and row.method and row.model for row in results())
    assert {row.family for row in results()} == set(FAMILIES)
    assert sum(not row.checked for row in results()) < 70


def test_values_are_in_range():
    for row in results():
        assert row.value is None or 0 <= row.value <= 1
        assert row.baseline is None or 0.4 < row.baseline <= 1
        assert (row.metric in METRICS) == (row.value is not None)
        assert row.params is None or 1e6 < row.params < 1e9
        assert row.macs is None or 5e7 < row.macs < 1e11
        assert all(bits is None or 2 <= bits <= 32 for bits in (row.bits_w, row.bits_a))


def test_no_fact_stands_twice():
    facts = Counter((r.method, r.model, r.dataset, r.setting, r.macs, r.bits_w, r.bits_a, r.value, r.source)
                    for r in results())  # fmt: skip
    assert [fact for fact, times in facts.items() if times > 1] == []


def test_every_count_of_macs_says_its_convention_and_what_tells_it():
    for row in results():
        assert row.macs is None or row.macs_kind is not None
        assert bool(row.told_by) == (row.macs_kind not in {None, MacsKind.UNSTATED})
    kinds = Counter(row.macs_kind for row in results() if row.macs)
    assert kinds[MacsKind.WITHOUT] == 54  # TRAM's counter leaves the products out, and says so
    assert kinds[MacsKind.SPARSE] >= 20


@pytest.mark.parametrize(("model", "name"), [
    ("DeiT-S", "deit_small_patch16_224.fb_in1k"), ("DeiT-B", "deit_base_patch16_224.fb_in1k"),
    ("Swin-S", "swin_small_patch4_window7_224.ms_in22k_ft_in1k"),
])  # fmt: skip
def test_what_counts_with_attention_is_near_our_own_count(model, name):
    """A dense network's printed MACs are ours; without the products they would be 4 to 8 % fewer."""
    ours = {card.name: card.macs for card in cards()}[name]
    printed = [r.macs for r in results() if r.model == model and r.macs_kind is MacsKind.WITH
               and r.family in {"uncompressed", "quantisation"}]  # fmt: skip
    assert len(printed) > 3
    assert all(0.98 < macs / ours < 1.02 for macs in printed if macs)


def test_a_chart_holds_one_data_set_and_one_way_to_count():
    rows = comparable(IMAGENET, "macs", MacsKind.WITH)
    assert len(rows) > 700
    assert {(row.dataset, row.macs_kind, row.metric) for row in rows} == {(IMAGENET, MacsKind.WITH, "top-1")}
    assert all(not row.sparse for row in comparable(IMAGENET, "params", MacsKind.UNSTATED))
    assert all(row.sparse for row in comparable(IMAGENET, "weight_bytes", MacsKind.SPARSE))
    assert datasets(results())[0] == IMAGENET


def test_a_size_of_ours_is_not_called_published():
    row = next(row for row in results() if row.bits_w == 4 and row.params and row.checked)
    assert row.quantity("weight_bytes").value == row.params / 2
    assert row.quantity("weight_bytes").evidence is Evidence.PREDICTED
    assert row.quantity("value").evidence is Evidence.PUBLISHED
    assert row.quantity("value").source == row.source
