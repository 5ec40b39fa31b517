"""The Sources page: every kind of evidence, every bundled model, every row of the zoo."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from vitedge_core.evidence import Evidence
from vitedge_core.models.zoo import BUNDLED, cards
from vitedge_core.ui import cache

APP = Path(__file__).parents[2] / "app.py"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setattr(cache, "unmeasurable", lambda model, images: "Weights are not here.")
    page = AppTest.from_file(str(APP), default_timeout=60).run().switch_page("pages/sources.py").run()
    assert not page.exception
    assert not page.error
    return page


def text(app: AppTest) -> str:
    return "\n".join(str(block.value) for block in (*app.markdown, *app.caption))


def test_every_kind_of_evidence_is_explained(app: AppTest) -> None:
    assert all(kind.value in text(app) for kind in Evidence)


def test_counting_tells_of_fused_attention(app: AppTest) -> None:
    assert "fvcore" in text(app)
    assert "One MAC is two FLOPs" in text(app)


def test_every_bundled_model_stands_with_its_counts(app: AppTest) -> None:
    assert all(f"`{name}`" in text(app) for name in BUNDLED)
    assert "1.21 M parameters, 84.1 MMAC" in text(app)


def test_the_zoo_is_whole_and_every_top1_has_its_source(app: AppTest) -> None:
    table = app.dataframe[0].value
    assert len(table) == sum(not card.bundled and not card.name.startswith("mine/") for card in cards())
    known = table[table["Published top-1 (%)"].notna()]
    assert len(known) > 80
    assert (known["Source of the top-1"] != "").all()


def test_references_link_to_their_papers(app: AppTest) -> None:
    assert "https://arxiv.org/abs/2210.09461" in text(app)


def test_published_latencies_are_counted_and_their_errors_shown_on_request(app: AppTest) -> None:
    assert "1,228 figures of networks on 72 devices" in text(app)
    assert len(app.dataframe) == 1
    app.toggle(key="edge-errors-shown").set_value(True).run()
    assert not app.exception
    table = app.dataframe[1].value
    assert set(table["Held out"]) == {"network", "network on one target", "device"}
    assert table["Median error (%)"].between(0, 300).all()
