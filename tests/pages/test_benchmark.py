"""The Benchmark page without a browser: choose, time in the background, cancel, and what engines do wrong."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import pytest
from fake_engines import MadeUp
from streamlit.testing.v1 import AppTest

from tests.unit.test_loaded import RECIPE, graph, ir, sealed
from vitedge_core import backends
from vitedge_core.backends import BASELINE
from vitedge_core.datasets import wild_digits
from vitedge_core.errors import Cancelled
from vitedge_core.experiments import bench_store, engines
from vitedge_core.recipe import Recipe, Step
from vitedge_core.ui import benchmark, cache, own_file
from vitedge_core.ui.recipe_editor import plain
from vitedge_core.ui.words import of_step

APP = Path(__file__).parents[2] / "app.py"
HALF = Step.of("head_mlp_magnitude", ratio=0.5, compensate=False)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Few images, a store of its own, and nothing that Build measures; it comes first."""
    made = {split: wild_digits.compose(split, 0, count=24) for split in wild_digits.SPLITS}
    monkeypatch.setattr(wild_digits, "load", lambda split="test", count=0, seed=0: made[split])
    monkeypatch.setattr("vitedge_core.ui.measuring.automatic", lambda *_: ())
    monkeypatch.setenv("VITEDGE_STORAGE", f"sqlite:///{tmp_path / 'runs.db'}")
    monkeypatch.setattr(benchmark, "SECONDS", 0.0)
    engines._memory.clear()
    cache.worker.clear()


def offer(monkeypatch, *others: MadeUp) -> None:
    every = (BASELINE, *others)
    monkeypatch.setattr(backends, "ENGINES", every)
    monkeypatch.setattr(benchmark, "ENGINES", every)
    monkeypatch.setattr(benchmark, "USUAL", tuple(one.key for one in every))
    monkeypatch.setattr(benchmark, "_TITLES", {one.key: one.title for one in every})


def opened(*steps: Step) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params["r"] = Recipe("digits_vit_small", steps).to_token()
    app.run()
    return checked(app.switch_page("pages/benchmark.py").run())


def checked(app: AppTest) -> AppTest:
    assert not app.exception
    assert [error.value for error in app.error] == []
    return app


def finished(app: AppTest) -> AppTest:
    """Run until the background work has ended."""
    end = time.monotonic() + 120
    while any(button.key.endswith("-cancel") for button in app.button):
        assert time.monotonic() < end
        time.sleep(0.2)
        app.run()
    return checked(app)


def words(app: AppTest) -> str:
    return "\n".join(str(element.value) for element in (*app.warning, *app.markdown, *app.caption))


def spec(app: AppTest, place: int = 0) -> dict:
    return json.loads(app.get("plotly_chart")[place].proto.spec)


def bars(app: AppTest) -> dict[str, float]:
    return {
        label: value
        for trace in spec(app)["data"]
        for label, value in zip(trace["y"], trace["x"], strict=True)
    }  # fmt: skip


def test_it_times_what_was_chosen_and_shows_speed_agreement_and_the_machine(monkeypatch):
    offer(monkeypatch, MadeUp(), MadeUp(key="off", title="Off", raised=1e3))
    app = opened(HALF)
    assert app.multiselect(key="bench-engines").value == ["eager", "made-up", "off"]
    assert app.multiselect(key=app.multiselect[1].key).value == ["The current recipe", "Uncompressed"]
    app.button(key="benchmark-start").click().run()
    app = finished(app)
    assert len(bars(app)) == 6
    assert {trace["name"] for trace in spec(app)["data"]} >= {"changes answers"}
    assert spec(app)["layout"]["shapes"][0]["x0"] == 1, "the line of the baseline"
    flagged = next(trace for trace in spec(app, 1)["data"] if trace["name"] == "changes answers")
    assert all(label.startswith("Off") for label in flagged["y"])
    assert "Off changes more answers than the accuracy is known to" in words(app)
    assert "torch " in words(app)
    again = opened(HALF)
    assert bars(again) == bars(app), "what was measured is there at once on the next visit"
    assert again.button(key="bench-again")


def test_an_engine_that_fails_says_so_and_the_others_are_drawn(monkeypatch):
    offer(monkeypatch, MadeUp(fault="fails"), MadeUp(key="absent", title="Absent", fault="missing"))
    app = opened()
    assert app.multiselect(key="bench-engines").options == ["PyTorch, eager", "Made up"]
    assert "pip install made-up" in words(app)
    app.button(key="benchmark-start").click().run()
    app = finished(app)
    assert [warning.value for warning in app.warning] == [
        "**Made up**: Made up failed to build this recipe (no kernel for this); choose another engine."
    ]
    assert list(bars(app)) == ["PyTorch, eager"]
    assert "the baseline" in str(spec(app)["data"])


def test_several_passes_are_told_apart_and_nothing_chosen_is_said(monkeypatch):
    offer(monkeypatch)
    app = opened()
    app.pills(key="bench-batches").set_value([1, 8]).run()
    app.button(key="benchmark-start").click().run()
    app = finished(app)
    assert [label.split("<br>")[1] for label in bars(app)] == ["8 images, 1 thread", "one image, 1 thread"]
    app.multiselect(key="bench-engines").set_value([]).run()
    assert "Choose at least one engine" in words(checked(app))


def test_a_timing_can_be_cancelled_and_keeps_nothing(monkeypatch):
    offer(monkeypatch)
    monkeypatch.setattr(benchmark, "SECONDS", 600.0)
    app = opened()
    app.button(key="benchmark-start").click().run()
    app.button(key="benchmark-cancel").click().run()
    end = time.monotonic() + 60
    while any(task.active for task in cache.worker()._tasks.values()):
        assert time.monotonic() < end, "the work did not stop"
        time.sleep(0.1)
    assert app.button(key="benchmark-start")
    assert bench_store.rows() == []


def test_the_time_by_kind_stands_beside_the_roofline(monkeypatch):
    offer(monkeypatch)
    app = opened()
    app.button(key="kinds-start").click().run()
    app = finished(app)
    drawn = spec(app)["data"]
    assert [trace["name"] for trace in drawn] == ["at best, by the roofline", "measured, eager PyTorch"]
    roof, measured = (dict(zip(trace["y"], trace["x"], strict=True)) for trace in drawn)
    assert {"MLP", "attention products", "query, key, value"} <= set(measured)
    assert measured["MLP"] > roof["MLP"] > 0
    assert "Most time goes to" in words(app)


@pytest.fixture
def scratch(monkeypatch, tmp_path) -> Path:
    """The only place where an upload may lie while it is measured."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def uploaded(*files: tuple[str, bytes]) -> AppTest:
    app = opened()
    parts = [(name, data, "application/octet-stream") for name, data in files]
    return app.file_uploader(key="own-file").set_value(parts).run()


def rows_of(app: AppTest) -> dict[str, dict[str, str]]:
    return {row["Figure"]: row for row in app.table[0].value.to_dict("records")}


def test_a_file_of_yours_is_measured_beside_pytorch_and_nothing_of_it_is_kept(monkeypatch, scratch, tmp_path):
    offer(monkeypatch)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    app = uploaded(("my *odd* model.onnx", graph().SerializeToString()))
    app.button(key="own-file-start").click().run()
    app = finished(app)
    rows = rows_of(app)
    assert list(rows) == ["File", "Accuracy", "Against PyTorch", "Latency", "Latency in PyTorch",
                          "Latency against PyTorch"]  # fmt: skip
    for name in ("Accuracy", "Latency against PyTorch"):
        assert " to " in rows[name]["95 % interval"]
        assert "measured" in rows[name]["Evidence"]
    assert "my-odd-model.onnx (onnx)." in words(app), "nobody knows what it is"
    assert "says nothing of itself; it is compared with the uncompressed digits\\_vit\\_small" in words(app)
    assert list(scratch.iterdir()) == []
    left = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert {path.name.partition(".")[0] for path in left} <= {"runs"}, "the store, which is opened by the page"
    app.file_uploader(key="own-file").set_value(None).run()
    assert not app.table, "with the upload its figures go"


def test_the_two_files_of_openvino_come_together(monkeypatch, scratch, tmp_path):
    offer(monkeypatch)
    path = ir(tmp_path)
    parts = (("m.bin", path.with_suffix(".bin").read_bytes()), ("m.xml", path.read_bytes()))
    app = uploaded(*parts)
    app.button(key="own-file-start").click().run()
    assert rows_of(finished(app))["Accuracy"]["Value"].endswith("%")
    assert "(openvino)" in words(app)
    assert list(scratch.iterdir()) == []
    alone = uploaded(parts[1])
    assert "an .xml of OpenVINO together with its .bin" in alone.error[0].value
    assert not [button for button in alone.button if button.key == "own-file-start"]


def test_a_file_of_our_own_says_what_it_is(monkeypatch, scratch):
    offer(monkeypatch)
    app = uploaded(("m.onnx", sealed(graph()).SerializeToString()))
    app.button(key="own-file-start").click().run()
    said = f"m.onnx (onnx): Digits ViT base, {of_step(RECIPE.steps[0])}."
    assert plain(said) in words(finished(app))


def test_a_file_that_is_none_is_one_sentence(monkeypatch, scratch):
    offer(monkeypatch)
    app = uploaded(("m.onnx", b"no model"))
    app.button(key="own-file-start").click().run()
    end = time.monotonic() + 60
    while not app.error:
        assert time.monotonic() < end
        time.sleep(0.2)
        app.run()
    assert [error.value for error in app.error] == ["m.onnx is no ONNX file, or a damaged one; export the model again."]
    assert app.button(key="own-file-start"), "it can be tried again"
    assert list(scratch.iterdir()) == []


def test_a_file_that_is_too_large_is_one_sentence(monkeypatch):
    offer(monkeypatch)
    monkeypatch.setattr(own_file, "MAX_MB", 1)
    app = uploaded(("m.onnx", b"x" * (2**20 + 1)))
    assert "at most 1 MB" in app.error[0].value


def test_measuring_a_file_can_be_cancelled_and_leaves_nothing(monkeypatch, scratch):
    seen = []

    def forever(path, *_, cancelled, **__):
        seen.append(path.read_bytes())
        while not cancelled():
            time.sleep(0.01)
        raise Cancelled

    offer(monkeypatch)
    monkeypatch.setattr(own_file, "measure_file", forever)
    app = uploaded(("m.zip", b"a package"))
    app.button(key="own-file-start").click().run()
    end = time.monotonic() + 60
    while not seen:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert len(list(scratch.iterdir())) == 1
    app.button(key="own-file-cancel").click().run()
    while any(task.active for task in cache.worker()._tasks.values()):
        assert time.monotonic() < end, "the work did not stop"
        time.sleep(0.05)
    assert (seen, list(scratch.iterdir())) == ([b"a package"], [])
    assert app.button(key="own-file-start")
