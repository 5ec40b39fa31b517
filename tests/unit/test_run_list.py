"""The list of runs: every wish of a filter, and names cut short."""

from dataclasses import replace

import pytest

from tests.unit.test_runs import a_run
from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments import run_notes
from vitedge_core.experiments.run_list import Entry, Filter, entries, picked
from vitedge_core.experiments.runs import record
from vitedge_core.recipe import Recipe, Step

PRUNED = Entry("aaaa11112222", a_run(0.5, time=100.0, origin="Build", engine="eager", machine="laptop"), ("paper",))
other = a_run(0.2, digest="d2", time=200.0, origin="sweep", engine="fast")
MERGED = Entry(
    "aaaa33334444",
    replace(other, imported=True, title="Flowers",
            evaluation=replace(other.evaluation, recipe=Recipe("big", (Step.of("tome", r=8),)), notes=())),
)  # fmt: skip


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        ({}, [PRUNED, MERGED]), ({"models": ["tiny"]}, [PRUNED]), ({"models": ["tiny", "big"]}, [PRUNED, MERGED]),
        ({"techniques": ["tome"]}, [MERGED]), ({"images": ["d1"]}, [PRUNED]), ({"origins": ["sweep"]}, [MERGED]),
        ({"origins": ["imported"]}, [MERGED]), ({"engines": ["eager"]}, [PRUNED]), ({"tags": ["paper"]}, [PRUNED]),
        ({"tags": ["paper"], "models": ["big"]}, []), ({"words": "TOME flow"}, [MERGED]),
        ({"words": "ratio=0.5"}, [PRUNED]), ({"words": "Merging per block"}, [MERGED]),
        ({"words": "paper laptop"}, [PRUNED]), ({"words": "a note"}, [PRUNED]), ({"words": "aaaa3"}, [MERGED]),
        ({"words": "absent"}, []), ({"since": 150.0}, [MERGED]), ({"until": 200.0}, [PRUNED]),
        ({"since": 100.0, "until": 201.0}, [PRUNED, MERGED]),
    ],
)  # fmt: skip
def test_a_filter(wish, found):
    assert list(filter(Filter(**wish), (PRUNED, MERGED))) == found


def test_names_may_be_cut_short_where_that_is_clear():
    known = (PRUNED, MERGED)
    assert picked(known, ["aaaa3", "aaaa11112222"]) == (MERGED, PRUNED)
    assert picked(known, ["aaaa3", "aaaa33334444"]) == (MERGED,)
    for name, sentence in (("aaaa", "2 runs begin"), ("aaa", "no run"), ("", "no run"), ("bbbb", "no run")):
        with pytest.raises(VitEdgeError, match=sentence):
            picked(known, [name])


def test_repetitions_are_listed_too_the_latest_first_and_the_same_run_once(tmp_path):
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    for time in (1.0, 3.0, 2.0, 2.0):  # two processes imported the last one at the same moment
        record(a_run(time=time), url)
    listed = entries(url)
    assert [entry.run.time for entry in listed] == [3.0, 2.0, 1.0]
    run_notes.tag([listed[1].name], ["x"], url=url)
    assert [entry.tags for entry in entries(url)] == [(), ("x",), ()]
