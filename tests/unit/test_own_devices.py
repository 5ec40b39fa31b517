"""Boards of one's own: the file they write, what is refused, what is learned from it, and that it survives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.compress import plan_recipe
from vitedge_core.cost import own_devices, own_latency
from vitedge_core.cost.calibration import Calibration, Timing, counted
from vitedge_core.cost.devices import devices
from vitedge_core.cost.own_latency import features, learned, left_out, predict
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence
from vitedge_core.measure.calibrate import calibrate, lower_quartile
from vitedge_core.measure.ladder import networks, rungs
from vitedge_core.models.trace import trace, trace_model
from vitedge_core.plan import Kind, Op
from vitedge_core.recipe import Recipe, Step

ROOT = Path(__file__).parents[2]
TRUE = np.linspace(1, 3, len(own_latency._FEATURES)) * 1e-9


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VITEDGE_DATA", str(tmp_path))
    return tmp_path


def an_op(number: int) -> Op:
    """Some operation; the kinds take turns."""
    rng = np.random.default_rng(number)
    kind = (Kind.MLP, Kind.CONVOLUTION, Kind.ATTENTION, Kind.NORM, Kind.ELEMENTWISE)[number % 5]
    if kind in {Kind.NORM, Kind.ELEMENTWISE}:
        return Op("", kind, rows=50, reads=int(rng.integers(1e3, 1e5)), writes=int(rng.integers(1e3, 1e5)))
    rows, inputs, outputs = (int(n) for n in rng.integers(8, 400, 3))
    reads = rows * inputs // (9 if kind is Kind.CONVOLUTION and number % 2 else 1)
    weights = 0 if kind is Kind.ATTENTION else inputs * outputs
    return Op("", kind, rows, inputs, outputs, weights, 0, reads, rows * outputs)


def board(noise: float = 0.0, name: str = "A board", layers: int = 40, networks: int = 12) -> Calibration:
    """A board whose kernels follow known rates, give or take some noise."""
    rng = np.random.default_rng(7)

    def timing(number: int, whole: bool) -> Timing:
        ops = tuple((an_op(number * 7 + k), 1 + k % 3) for k in range(8 if whole else 1))
        seconds = float(features(ops) @ TRUE) * float(np.exp(noise * rng.standard_normal()))
        return Timing(f"timing {number}", whole, ops, seconds, 9)

    timings = tuple(timing(n, n >= layers) for n in range(layers + networks))
    return Calibration(name, "a processor", "Linux", 1, 2**30, "2026-11-24", 5e10, 1e10, timings)


def test_the_file_comes_back_as_it_was():
    assert Calibration.from_json(board().to_json()) == board()


def changed(path: str, value: object) -> str:
    """The file of a board with one field set, or taken out."""
    plain = json.loads(board().to_json())
    *parents, last = path.split("/")
    place = plain
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place[name]
    if value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("vitedge_calibration", 2, "another version"),
        ("vitedge_calibration", ..., "no device file"),
        ("device", ..., 'no "device"'),
        ("device/name", ..., '"name"'),
        ("device/name", "", '"name"'),
        ("device/threads", -1, '"threads"'),
        ("device/threads", True, '"threads"'),
        ("device/macs_per_second", -5e9, '"macs_per_second"'),
        ("device/macs_per_second", float("nan"), '"macs_per_second"'),
        ("device/bytes_per_second", ..., '"bytes_per_second"'),
        ("device/memory_bytes", 0, '"memory_bytes"'),
        ("measured", 3, '"measured"'),
        ("timings", {}, '"timings"'),
        ("timings", [], "too few"),
        ("timings/3/seconds", -1e-3, '"seconds" of timing 3'),
        ("timings/3/seconds", ..., '"seconds" of timing 3'),
        ("timings/3/rounds", 0.5, '"rounds" of timing 3'),
        ("timings/3/whole", "no", "A timing of the device file"),
        ("timings/3/ops", [], "operations of timing 3"),
        ("timings/3/ops", [["MLP", 1, 2, 3]], "An operation of timing 3"),
        ("timings/3/ops/0/1", -4, "An operation of timing 3"),
        ("timings/3/ops/0/0", "magic", "An operation of timing 3"),
    ],
)
def test_a_damaged_file_is_one_sentence_and_nothing_is_lost(path, value, says):
    own_devices.keep(board().to_json())
    with pytest.raises(VitEdgeError, match=says) as caught:
        own_devices.keep(changed(path, value))
    assert str(caught.value).count(".\n") == 0
    assert str(caught.value).endswith(".")
    assert own_devices.calibrations() == (board(),)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, b"\xff\xfe\x00", b"PK\x03\x04"])
def test_what_is_no_device_file_is_refused(text):
    with pytest.raises(VitEdgeError, match="no device file"):
        own_devices.keep(text)


def test_a_file_too_large_is_refused_before_it_is_read():
    with pytest.raises(VitEdgeError, match=r"at most 4\.2 MB"):
        own_devices.keep(" " * 5_000_000)


@given(st.dictionaries(st.sampled_from(("vitedge_calibration", "device", "timings", "measured")),
                       st.none() | st.integers() | st.text() | st.lists(st.integers()) | st.just({})))  # fmt: skip
def test_anything_else_is_a_sentence_too(plain):
    with pytest.raises(VitEdgeError):
        Calibration.from_json(json.dumps(plain))


def test_a_board_is_a_device_and_survives_a_restart():
    own_devices.keep(board().to_json())
    own_devices._read.cache_clear()  # another process
    device = own_devices.any_device("A board")
    assert device.macs_per_second(32) == 5e10
    assert device.macs_per_second(8) == 5e10
    assert device.bandwidth == 1e10
    assert own_devices.all_devices() == (device, *devices())
    own_devices.keep(board(noise=0.1).to_json())
    assert own_devices.calibrations() == (board(noise=0.1),)
    own_devices.remove("A board")
    assert own_devices.calibrations() == ()
    with pytest.raises(VitEdgeError, match="no imported device"):
        own_devices.remove("A board")


def test_a_board_cannot_take_the_name_of_another_device():
    with pytest.raises(VitEdgeError, match="another --name"):
        own_devices.keep(board(name="Raspberry Pi 5").to_json())


def test_rates_that_made_the_timings_are_found_again():
    exact = board()
    plan = trace("digits_vit_base")
    told = predict(exact, plan)
    assert told.value == pytest.approx(float(features((op, 1) for op in plan.ops) @ TRUE), rel=0.25)
    assert (told.evidence, told.unit) == (Evidence.PREDICTED, "s")
    assert told.low <= told.value <= told.high
    assert "A board" in told.source
    assert np.median([abs(ratio - 1) for _, ratio in left_out(exact)]) < 0.1


def test_the_interval_is_as_wide_as_the_board_is_unpredictable():
    spreads = [learned(board(noise)).spread for noise in (0.0, 0.1, 0.4)]
    assert spreads == sorted(spreads)
    assert spreads[0] < 1.25
    assert spreads[2] > 1.3


def test_the_interval_comes_from_networks_that_the_fit_had_not_seen():
    noisy = board(0.4)
    rates = np.asarray(learned(noisy).seconds)
    seen = [float(features(timing.ops) @ rates) / timing.seconds for timing in noisy.networks]
    unseen = [ratio for _, ratio in left_out(noisy)]
    assert np.abs(np.log(unseen)).mean() > 1.02 * np.abs(np.log(seen)).mean()


def test_features_add_up_and_grow_with_the_batch():
    ops = [(an_op(n), 1 + n % 2) for n in range(25)]
    assert features(ops).tolist() == pytest.approx((features(ops[:10]) + features(ops[10:])).tolist())
    one, four = features(ops), features(ops, 4)
    for place, name in enumerate(own_latency._FEATURES):
        same = name.endswith(("calls", "weights"))
        assert four[place] == pytest.approx(one[place] * (1 if same else 4)), name


def test_fewer_bits_are_out_of_its_domain():
    plan = plan_recipe(Recipe("digits_vit_base", (Step.of("uniform_ptq"),))).last
    with pytest.raises(VitEdgeError, match="float32 only"):
        predict(board(), plan)


def test_equal_operations_are_counted_together():
    plan = trace("digits_vit_base")
    ops = counted(plan.ops)
    assert sum(op.macs * count for op, count in ops) == plan.macs
    assert len(ops) < len(plan.ops) / 2
    assert features(ops).tolist() == pytest.approx(features((op, 1) for op in plan.ops).tolist())


def test_the_ladder_times_every_family_of_kernels():
    names = [rung.name for rung in rungs()]
    assert len(names) == len(set(names))
    assert sum(rung.whole for rung in rungs()) == len(list(networks())) >= 12
    sums = np.zeros(len(own_latency._FEATURES))
    for rung in rungs():
        if not rung.whole:
            with torch.device("meta"):
                ops = counted(trace_model(rung.build(), rung.name, rung.shape).ops)
            assert ops, f"{rung.name} does nothing"
            sums += features(ops)
    assert all(sums > 0), own_latency._FEATURES[int(sums.argmin())]


def test_calibrating_times_what_it_is_given_and_can_be_cancelled():
    few = [rung for rung in rungs() if not rung.whole and "8" in rung.name][:3]
    told = []
    found = calibrate("mine", seconds=0.0, subjects=few, report=lambda share, text: told.append(share))
    assert [timing.name for timing in found.timings] == [rung.name for rung in few]
    assert all(timing.seconds > 0 and timing.rounds == 5 and timing.ops for timing in found.timings)
    assert told == sorted(told)
    assert found.name == "mine"
    assert found.macs_per_second > 1e8
    with pytest.raises(Cancelled):
        calibrate(seconds=0.0, subjects=few, cancelled=lambda: True)
    with pytest.raises(VitEdgeError, match="threads"):
        calibrate(threads=10_000)


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=30))
def test_the_lower_quartile_is_a_sample_with_a_quarter_below(samples):
    value = lower_quartile(samples)
    assert value in samples
    assert sum(other < value for other in samples) <= len(samples) / 4


@pytest.mark.slow
def test_calibrating_needs_torch_and_timm_only():
    """The verb in a Python where everything else that VitEdge uses cannot be imported."""
    blocked = ("streamlit", "plotly", "sklearn", "optuna", "captum", "fvcore", "pandas", "scipy", "altair")
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({blocked!r}))\n"  # importing them fails, as if they were not there
        "from vitedge_core.__main__ import main\n"
        "import vitedge_core.measure.calibrate as own\n"
        "few = [rung for rung in own.rungs() if not rung.whole][-2:]\n"
        "own.rungs = lambda: few\n"
        "sys.exit(main(['calibrate', '--out', sys.argv[1], '--name', 'Mine', '--seconds', '1']))\n"
    )
    path = own_devices.data_folder() / "mine.json"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    plain = json.loads(path.read_text())
    assert plain["device"]["name"] == "Mine"
    assert len(plain["timings"]) == 2
