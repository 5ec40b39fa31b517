"""The hyperparameters of the latency model are those that make the published rows likely."""

from __future__ import annotations

import json

import pytest

from vitedge_core.cost.edge_model import KERNEL
from vitedge_core.experiments.edge_fit import fit


@pytest.mark.slow
def test_a_fit_starts_where_the_last_one_ended(tmp_path):
    committed = json.loads(KERNEL.read_text(encoding="utf-8"))
    again = json.loads(fit(tmp_path / "kernel.json", steps=0).read_text(encoding="utf-8"))
    assert again["rows"] == committed["rows"]
    assert again["hyperparameters"] == pytest.approx(committed["hyperparameters"], rel=0.02)
    assert again["log_marginal_likelihood"] == pytest.approx(committed["log_marginal_likelihood"], abs=1)
