"""The command line: what it prints, where, and that every mistake is one sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import homegrown
import pytest

from tests.unit.test_own_devices import board
from vitedge_core import __main__ as cli
from vitedge_core.__main__ import main
from vitedge_core.cli.asking import scalar, step_of
from vitedge_core.datasets import wild_digits
from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments.runs import all_runs
from vitedge_core.recipe import Recipe, Step

ROOT = Path(__file__).parents[2]
QUANTITY = {"value", "unit", "evidence", "source", "low", "high"}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(cli.progress, "_last", float("inf"))  # no progress among the complaints of a slow machine
    made = {split: wild_digits.compose(split, 0, count=40) for split in wild_digits.SPLITS}
    monkeypatch.setattr(wild_digits, "load", lambda split="test", count=0, seed=0: made[split])


@pytest.fixture(scope="module")
def name() -> str:
    return homegrown.keep("cli")


@pytest.fixture
def answer(capsys):
    """Runs a verb that must succeed; returns its JSON."""

    def run(*arguments: str) -> dict:
        assert main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def complaint(capsys):
    """Runs a verb that must fail; returns its sentence."""

    def run(*arguments: str) -> str:
        assert main(arguments) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.count("\n") == 1
        assert "Traceback" not in told.err
        return told.err.strip()

    return run


@pytest.mark.parametrize(
    ("typed", "value"),
    [("true", True), ("False", False), ("8", 8), ("-2", -2), ("0.5", 0.5), ("1e-3", 1e-3), ("per layer", "per layer")],
)
def test_values_are_read_as_they_look(typed, value):
    assert scalar(typed) == value
    assert type(scalar(typed)) is type(value)


def test_a_step_is_key_and_knobs():
    assert step_of("tome") == Step.of("tome")
    assert step_of("tome:r=8") == Step.of("tome", r=8)
    assert step_of("uniform_ptq:w_bits=4, a_bits=8") == Step.of("uniform_ptq", w_bits=4, a_bits=8)
    assert step_of("layer_drop:blocks=1") == Step.of("layer_drop", blocks="1")
    assert step_of("uniform_ptq:w_bits=4,keep=2 5") == Step.of("uniform_ptq", w_bits=4, keep="2 5")
    assert step_of("soft_logits:teacher=mine/a:b") == Step.of("soft_logits", teacher="mine/a:b")
    for wrong in ("tome:r", "tome:=3", ":r=3", "tome:r=3,r=4", "tome:r=nan", "tome:r=inf"):
        with pytest.raises(VitEdgeError):
            step_of(wrong)


def test_cost_prints_both_sides(answer, name):
    found = answer("cost", "--model", name, "--step", "head_mlp_magnitude:ratio=0.5", "--step", "tome:r=4")
    for side in ("baseline", "compressed"):
        assert set(found[side]) == {
            "params", "macs", "weight_bytes", "dense_bytes", "peak_memory_bytes", "theoretical_macs",
            "theoretical_bytes", "two_of_four_bytes",
        }  # fmt: skip
        assert all(set(quantity) == QUANTITY for quantity in found[side].values())
    assert found["compressed"]["macs"]["value"] < found["baseline"]["macs"]["value"]
    assert [step["technique"] for step in found["recipe"]["steps"]] == ["head_mlp_magnitude", "tome"]


def test_cost_tells_everything_the_page_shows(answer, name):
    step = ("--step", "head_mlp_magnitude:ratio=0.5")
    found = answer("cost", "--model", name, *step, "--batch", "3", "--image", "64", "--sizes", "48,96,3")
    assert (found["batch"], found["image"]) == (3, 64)
    for side in ("baseline", "compressed"):
        macs = found[side]["macs"]["value"]
        assert sum(part["macs"] for part in found["by_kind"][side]) == macs
        assert sum(part["macs"] for part in found["by_block"][side]) == macs
        assert all(part["macs_per_byte"] >= 0 for part in found["by_kind"][side])
        memory = found["memory"][side]
        peak = max(moment["total"] for moment in memory["timeline"])
        assert memory["weight_bytes"] + peak == found[side]["peak_memory_bytes"]["value"]
        assert next(m for m in memory["timeline"] if m["total"] == peak)["path"] == memory["peak_at"]
    assert [each["side"] for each in found["scaling"]["sizes"]] == [48, 96]
    assert list(found["scaling"]["problems"]) == ["3"]
    alone = answer("cost", "--model", name, *step, "--image", "64")
    assert found["compressed"]["macs"]["value"] == 3 * alone["compressed"]["macs"]["value"]
    assert "scaling" not in alone


def test_cost_for_people(capsys, name):
    assert main(["cost", "--model", name, "--sizes", "48,96"]) == 0
    told = capsys.readouterr().out
    assert "attention products" in told
    assert "MAC per byte" in told
    assert "Grows with the number of pixels to the power of: total " in told


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--batch", "0"), "'0' is no whole number from 1"),
        (("--batch", "100000"), "A batch has 1 to 65536 images, not 100000."),
        (("--image", "100000"), "The side of an image must be 1 to 4096 pixels, not 100000."),
        (("--image", "3"), "cannot take images of 3x3 pixels"),
        (("--sizes", "48,many"), "'48,many' is no list of sizes such as 224,384"),
        (("--sizes", "3"), "cannot take images of 3x3 pixels"),
        (("--sizes", ",".join(map(str, range(48, 70)))), "A curve goes through 1 to 12 sizes, not 22."),
    ],
)
def test_impossible_sizes_and_batches_are_one_sentence(complaint, name, options, sentence):
    assert sentence in complaint("cost", "--model", name, *options)


def test_a_recipe_comes_as_options_file_token_or_link(answer, name, tmp_path):
    recipe = Recipe(name, (Step.of("tome", r=4),), seed=3)
    path = tmp_path / "recipe.json"
    path.write_text(recipe.to_json())
    ways = (
        ["--model", name, "--step", "tome:r=4", "--seed", "3"],
        ["--recipe", str(path)],
        ["--recipe", recipe.to_token()],
        ["--recipe", f"http://localhost:8501/?r={recipe.to_token()}&page=1"],
    )
    answers = [answer("cost", *way) for way in ways]
    assert all(one == answers[0] for one in answers)
    assert answers[0]["recipe"]["seed"] == 3


def test_measure_gives_accuracy_with_n(answer, name):
    found = answer("measure", "--model", name, "--step", "magnitude:ratio=0.5", "--limit", "16", "--no-latency")
    assert found["compressed"]["accuracy"]["n"] == 16
    assert found["compressed"]["accuracy"]["evidence"] == "measured"
    assert "latency_seconds" not in found["compressed"]
    assert set(found["difference"]) == QUANTITY | {"n"}


def test_measure_times_both(answer, name):
    found = answer("measure", "--model", name, "--limit", "8")
    assert found["baseline"]["latency_seconds"]["unit"] == "s"
    assert found["latency_ratio"]["unit"] == "ratio"


def test_measure_keeps_its_run_and_finds_it_again(answer, name):
    ask = ("measure", "--model", name, "--step", "magnitude:ratio=0.3", "--limit", "12")
    first = answer(*ask)
    assert answer(*ask) == first  # two stopwatches would not agree to the last digit
    assert answer(*ask, "--again")["latency_ratio"] != first["latency_ratio"]
    kept = [run for run in all_runs() if run.recipe == Recipe.from_dict(first["recipe"])]
    assert [run.origin for run in kept] == ["command line"]


def test_compress_refuses_a_folder_in_use_before_the_work(complaint, name, tmp_path, monkeypatch):
    monkeypatch.setattr("vitedge_core.compress.compress", lambda *_: pytest.fail("it was carried out all the same"))
    (tmp_path / "mine.txt").write_text("precious")
    assert "something else" in complaint("compress", "--model", name, "--out", str(tmp_path))


def test_broke_gives_every_figure_with_its_images(answer, name):
    found = answer("broke", "--model", name, "--step", "layer_drop:blocks=1", "--limit", "16")
    assert found["n"] == 16
    assert set(found["agreement"]["flips"]["newly_wrong"]) == QUANTITY | {"n"}
    assert [layer["removed"] for layer in found["divergence"]["layers"]] == [False, True, False]
    assert found["divergence"]["layers"][0]["sqnr"]["unit"] == "dB"
    assert found["gaze"]["hits"]["after"]["n"] == 16
    assert found["sensitivity"] is None


def test_compress_writes_a_package_of_the_told_size(answer, name, tmp_path):
    out = tmp_path / "package"
    found = answer("compress", "--model", name, "--step", "uniform_ptq:w_bits=4,a_bits=32", "--out", str(out))
    size = found["compressed"]["weight_bytes"]
    assert size["value"] == (out / "model.safetensors").stat().st_size
    assert size["evidence"] == "measured"
    assert size["value"] < found["baseline"]["weight_bytes"]["value"]
    assert Recipe.from_json((out / "recipe.json").read_text()) == Recipe.from_dict(found["recipe"])


def test_models_and_methods_list_what_there_is(answer, name):
    models = {model["name"]: model for model in answer("models")["models"]}
    assert models[name]["weights"]
    assert models["digits_vit_base"]["bundled"]
    assert len(models) > 90
    assert [m["name"] for m in answer("models", "--search", "digits_swin")["models"]] == ["digits_swin"]
    methods = {method["key"]: method for method in answer("methods")["methods"]}
    assert {"tome", "uniform_ptq", "soft_logits", "layer_drop", "magnitude"} <= set(methods)
    assert [knob["name"] for knob in methods["uniform_ptq"]["knobs"]][:2] == ["w_bits", "a_bits"]


def test_data_tells_what_a_folder_holds(answer):
    assert answer("data")["n"] == 2_000


def test_for_people_there_are_tables(capsys, name):
    for verb in (["models"], ["methods"], ["cost", "--model", name, "--step", "tome:r=4"], ["data"]):
        assert main(verb) == 0
        assert len(capsys.readouterr().out.splitlines()) >= 1
    assert main(["measure", "--model", name, "--step", "tome:r=4", "--limit", "8", "--no-latency"]) == 0
    told = capsys.readouterr().out
    assert "Accuracy" in told
    assert "paired interval" in told


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["mesure"], "did you mean 'measure'"),
        ([], "required"),
        (["cost"], "--model NAME"),
        (["cost", "--model", "deit_tiny"], "did you mean 'deit_tiny_patch16_224'"),
        (["cost", "--model", "{name}", "--step", "tom"], "did you mean 'tome'"),
        (["cost", "--model", "{name}", "--step", "tome:rr=1"], "did you mean r"),
        (["cost", "--model", "{name}", "--step", "tome:r=999"], "tome.r = 999 is outside"),
        (["cost", "--model", "{name}", "--step", "tome:r"], "KEY:knob=value"),
        (["cost", "--model", "{name}", "--recipe", "x"], "not from both"),
        (["cost", "--model", "{name}", "--seed", "-1"], "seed"),
        (["cost", "--model", "{name}", "--image", "0"], "'0' is no whole number from 1"),
        (["cost", "--recipe", "nowhere.json"], "no recipe file"),
        (["cost", "--recipe", "AAAA"], "damaged"),
        (["cost", "--recipe", "x" * 5_000], "too long"),
        (["cost", "--modle", "x"], "Unrecognized arguments: --modle"),
        (["measure", "--model", "{name}", "--images", "/nowhere"], "no folder /nowhere"),
        (["measure", "--model", "{name}", "--limit", "many"], "'many' is no whole number"),
        (["measure", "--model", "{name}", "--threads", "100000", "--limit", "1"], "threads"),
        (["measure", "--file", "m.onnx", "--engine", "openvino", "--batch", "2"], "leave --batch, --engine out"),
        (["measure", "--file", "m.onnx", "--step", "tome"], "leave --step out"),
        (["compress", "--model", "{name}"], "--out"),
        (["train", "digits_vit_bas"], "did you mean 'digits_vit_base'"),
    ],
)
def test_a_mistake_is_one_sentence(complaint, name, arguments, part):
    assert part in complaint(*(argument.format(name=name) for argument in arguments))


def test_a_recipe_file_of_anything_else_is_refused(complaint, tmp_path):
    path = tmp_path / "recipe.json"
    for text in ("[]", "{", '{"model": 3}', "x" * 20_000, "[" * 10_000):
        path.write_text(text)
        assert "recipe" in complaint("cost", "--recipe", str(path)).lower()


def test_what_nobody_expected_is_still_one_sentence(complaint, name, monkeypatch):
    def fails(*_):
        raise RuntimeError("line one\nline two")

    monkeypatch.setattr("vitedge_core.compress.plan_recipe", fails)
    assert "RuntimeError: line one line two" in complaint("cost", "--model", name)


def _process(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vitedge_core", *arguments], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # a runner in the background ignores interrupts, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip


def test_cost_tells_energy_and_the_roofline_of_a_device(answer, complaint):
    told = answer(
        "cost", "--model", "digits_vit_base", "--step", "head_mlp_magnitude:ratio=0.5", "--device", "Raspberry Pi 5"
    )
    assert set(told["energy"]["compressed"]["total"]) == QUANTITY
    before, after = told["roofline"]["baseline"], told["roofline"]["compressed"]
    assert after["seconds"]["value"] < before["seconds"]["value"]
    assert sum(row["macs"] for row in after["by_kind"]) == told["compressed"]["macs"]["value"]
    assert sum(row["share"] for row in after["operations"]) == pytest.approx(1)
    assert "roofline" not in answer("cost", "--model", "digits_vit_base")
    assert "Raspberry Pi 5" in complaint("cost", "--model", "digits_vit_base", "--device", "Raspbery Pi 5", "--json")


def test_boards_are_imported_listed_predicted_and_removed(answer, complaint, tmp_path, monkeypatch):
    monkeypatch.setenv("VITEDGE_DATA", str(tmp_path / "data"))
    path = tmp_path / "mine.json"
    path.write_text(board().to_json())
    names = [device["name"] for device in answer("devices", "--import", str(path))["devices"]]
    assert names[0] == "A board"
    assert len(names) == 36
    (row,) = answer("edge", "--model", "digits_vit_base", "--device", "A board")
    assert 0 < row["low_ms"] <= row["latency_ms"] <= row["high_ms"]
    (row,) = answer("edge", "--model", "digits_vit_base", "--step", "uniform_ptq:w_bits=8", "--device", "A board")
    assert "float32 only" in row["out_of_domain"]
    path.write_text(board().to_json().replace('"threads": 1', '"threads": -1'))
    assert '"threads"' in complaint("devices", "--import", str(path))
    assert "There is no device file" in complaint("devices", "--import", str(tmp_path / "nowhere.json"))
    assert len(answer("devices", "--remove", "A board")["devices"]) == 35
    assert "no imported device" in complaint("devices", "--remove", "A board")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from vitedge_core.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as left: assert left.code == 0\n"
        "else: raise AssertionError('no help was printed')\n"
        "assert not {'torch', 'timm', 'optuna', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_interrupting_says_cancelled(name, number):
    process = _process("measure", "--model", name, "--step", "soft_logits:seconds=600,images=1000000")
    assert process.stderr is not None
    while "Step 1" not in process.stderr.readline():  # progress appears once the work has begun
        assert process.poll() is None
    process.send_signal(number)
    start = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "Cancelled."
    assert time.monotonic() - start < 30


def test_engines_are_listed(answer, capsys):
    found = {one["key"]: one for one in answer("engines")["engines"]}
    assert found["eager"]["missing"] is None
    assert main(["engines"]) == 0
    assert "PyTorch, eager" in capsys.readouterr().out


def test_bench_times_recipes_of_the_line_and_finds_them_again(answer, name, tmp_path, monkeypatch):
    monkeypatch.setenv("VITEDGE_STORAGE", f"sqlite:///{tmp_path / 'bench.db'}")
    recipe = Recipe(name, (Step.of("head_mlp_magnitude", ratio=0.5),))
    path = tmp_path / "recipe.json"
    path.write_text(recipe.to_json())
    line = ("bench", str(path), Recipe(name).to_token(), "--engines", "eager", "--batch", "1,2", "--seconds", "0")
    rows = answer(*line, "--agreement", "--limit", "16")["rows"]
    assert [(row["engine"], row["setting"]["batch"]) for row in rows] == [("eager", 1), ("eager", 2)] * 2
    assert [row["recipe"]["model"] for row in rows] == [name] * 4
    for row in rows:
        assert set(row["speed"]["ratio"]) == QUANTITY
        assert row["agreement"]["n"] == 16
        assert row["circumstances"]["versions"]["torch"]
    assert answer(*line)["rows"] == rows
    assert answer(*line, "--again")["rows"] != rows


def test_bench_for_people_is_a_table(capsys, name):
    assert main(["bench", "--model", name, "--engines", "eager", "--seconds", "0", "--agreement", "--limit", "8"]) == 0
    told = capsys.readouterr().out
    assert "the baseline" in told
    assert "100.0 %" in told
    for heading in ("p50", "p95", "CPU time", "Same answer"):
        assert heading in told


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--engines", "eagr"), "did you mean 'eager'"),
        (("--threads", "0"), "Argument --threads: '0' is no whole number from 1"),
        (("--threads", "1000"), "not 1000"),
        (("--batch", "1,x"), "no whole number from 1"),
        (("nothing.json",), "not both"),
    ],
)
def test_a_mistake_of_bench_is_one_sentence(complaint, name, arguments, part):
    assert part in complaint("bench", "--model", name, *arguments)
