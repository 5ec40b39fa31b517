"""Runs as files: nothing is lost, nothing comes twice, and a stranger's file is checked to the last value."""

import csv
import io
import json
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_runs import a_run, looking
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence
from vitedge_core.experiments import run_files, run_notes, runs
from vitedge_core.experiments.run_files import import_runs, read_runs, to_csv, to_json, to_parquet
from vitedge_core.experiments.run_list import Entry, entries
from vitedge_core.experiments.runs import all_runs, find, record
from vitedge_core.recipe import Step


@pytest.fixture(autouse=True)
def stores(tmp_path, monkeypatch):
    """The URL of another store than the one that is used."""
    monkeypatch.setenv("VITEDGE_STORAGE", f"sqlite:///{tmp_path / 'runs.db'}")
    monkeypatch.setattr(runs, "_weights", lambda model: f"weights of {model}")
    return f"sqlite:///{tmp_path / 'other.db'}"


def some():
    found = [a_run(timed=True, machine=runs.machine(), versions=runs.versions(), origin="Build"), looking(a_run(0.2))]
    return [Entry(run.name, run, tags) for run, tags in zip(found, ((), ("a", "b c")), strict=True)]


@pytest.mark.parametrize("write", run_files.WRITERS.values())
def test_nothing_is_lost_on_the_way(write, stores):
    sent = some()
    done = import_runs(read_runs(write(sent)), stores)
    assert (done.new, done.known, done.restored) == (2, 0, 0)
    got = {entry.name: entry for entry in entries(stores)}
    for entry in sent:
        there = got[entry.name]
        assert there.tags == entry.tags
        back = there.run.to_dict()
        assert back.pop("imported")
        for side in ("baseline", "compressed"):
            for name, figure in back["evaluation"][side].items():
                assert figure.pop("evidence") == "imported"
                before = entry.run.to_dict()["evaluation"][side][name]
                assert figure.pop("source").endswith(f"there: {before.pop('evidence')}, {before.pop('source')}")
                assert figure == before
        assert there.run.evaluation.difference.evidence is Evidence.IMPORTED
        assert replace(there.run, evaluation=entry.run.evaluation, imported=False) == entry.run


def test_the_same_file_twice_changes_nothing(stores):
    file = to_json(some())
    import_runs(read_runs(file), stores)
    before = entries(stores)
    assert import_runs(read_runs(file), stores) == run_files.Imported(0, 2, 0)
    assert entries(stores) == before
    again = to_json(entries(stores))  # what was imported and goes on to somebody else is still the same run
    assert import_runs(read_runs(again), stores) == run_files.Imported(0, 2, 0)
    assert read_runs(again)[0].run.evaluation == before[0].run.evaluation


def test_our_own_runs_are_not_imported_over_and_deleted_ones_come_back():
    for entry in some():
        record(entry.run)
    file = to_json(entries())
    own = entries()
    run_notes.delete([own[0].name])
    done = import_runs(read_runs(file))
    assert (done.new, done.known, done.restored) == (0, 1, 1)
    assert "brought back" in done.sentence
    assert entries() == own


def test_an_imported_run_never_stands_in_for_a_measurement():
    run = a_run(timed=True, machine=runs.machine())
    import_runs(read_runs(to_json([Entry(run.name, run)])))
    (there,) = all_runs()
    assert there.imported
    assert not there.timed_here
    assert not find(run.recipe, "d1", 500)
    assert runs.usual_seconds("tiny", 500, latency=True) is None
    poorer = a_run(time=0.5)
    record(poorer)
    assert all_runs() == (poorer,)
    assert find(run.recipe, "d1", 500) == poorer


def test_an_import_that_is_cancelled_keeps_what_it_has_and_goes_on(stores):
    incoming = read_runs(to_json(some()))
    asked = iter([False, True])
    with pytest.raises(Cancelled, match="1 of 2"):
        import_runs(incoming, stores, cancelled=lambda: next(asked))
    assert import_runs(incoming, stores) == run_files.Imported(1, 1, 0)


def damaged(path, value):
    plain = json.loads(to_json(some()))
    place = plain["runs"][1]
    for key in path[:-1]:
        place = place[key]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(plain).encode()


FIGURE = ("run", "evaluation", "compressed", "accuracy")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("run",), None), (("run", "format"), 2), (("run", "limit"), "500"), (("run", "limit"), 0),
        (("run", "limit"), True), (("run", "title"), "x" * 501), (("run", "title"), "a\nb"), (("run", "title"), 5),
        (("run", "weights"), KeyError), (("run", "more"), 1), (("run", "time"), 1e12), (("run", "time"), -1),
        (("run", "time"), float("nan")), (("run", "time"), 10**400), (("run", "seconds"), "2"),
        (("run", "versions"), []), (("run", "versions"), {"torch": 2}), (("run", "imported"), "no"),
        (("run", "evaluation"), []), (("run", "evaluation", "recipe"), {"model": "tiny", "steps": [{}]}),
        (("run", "evaluation", "recipe", "model"), "x" * 300), (("run", "evaluation", "n"), 2.5),
        (("run", "evaluation", "notes"), ["x"] * 21), (("run", "evaluation", "notes"), "a note"),
        (("run", "evaluation", "baseline"), {}), (("run", "evaluation", "compressed", "A b"), {}),
        (("run", "evaluation", "ratio"), 0.5), (("run", "evaluation", "difference"), None),
        ((*FIGURE, "value"), 1.5), ((*FIGURE, "value"), None), ((*FIGURE, "value"), float("inf")),
        ((*FIGURE, "low"), None), ((*FIGURE, "low"), 0.99), ((*FIGURE, "unit"), "MAC"), ((*FIGURE, "unit"), ""),
        ((*FIGURE, "evidence"), "certain"), ((*FIGURE, "evidence"), ["measured"]), ((*FIGURE, "more"), 1),
        (("run", "evaluation", "compressed", "macs", "high"), 10**400),
        (("run", "evaluation", "compressed", "macs", "value"), -5), (("tags",), "a"), (("tags",), [1]),
        (("tags",), ["<b>"]), (("odd",), 1),
    ],
    ids=lambda part: str(part)[:60],
)  # fmt: skip
def test_a_damaged_value_refuses_the_whole_file(path, value):
    with pytest.raises(VitEdgeError, match=r"damaged|no run") as caught:
        read_runs(damaged(path, value))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"no", b"{" * 100_000, b"PAR1abc", b"\xff\xfe", b"a,b\n1,2\n", b"run\nx\n", b"run\n{}\n",
     b'{"format": "vitedge runs", "version": 2, "runs": []}', b'{"format": "vitedge runs", "version": 1, "runs": []}',
     b'{"format": "vitedge runs", "version": 1, "runs": 5}', b"\x00" * 50, b"run\n" + b"x" * 70_000],
    ids=lambda data: repr(data[:30]),
)  # fmt: skip
def test_what_is_no_file_of_runs_is_one_sentence(data):
    with pytest.raises(VitEdgeError):
        read_runs(data)


def packed(store_schema=True, **columns):
    """A table as Parquet; each column is a list of values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd", store_schema=store_schema)
    return buffer.getvalue()


TEXT = json.dumps(a_run().to_dict())


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (to_parquet(some())[:-20], "Parquet file is damaged"),
        (to_parquet(some()).replace(b"PAR1", b"XXXX").replace(b"XXXX", b"PAR1", 1), "Parquet file is damaged"),
        (packed(name=["a"]), "no file with runs"),
        (packed(run=[TEXT[:-5]]), "not JSON throughout"),
        (packed(run=[1]), "not JSON throughout"),
        (packed(run=[[TEXT]]), "not JSON throughout"),
        (packed(run=[None]), "not JSON throughout"),
        (packed(run=[TEXT.encode()]), "not JSON throughout"),
        (packed(run=['{"format": 1}']), "Run 1 of the file is damaged"),
        (packed(run=["x" * 70_000]), "longer one"),
        (packed(run=[TEXT] * 5_001), "at most 5,000"),
        (packed(run=[]), "holds no runs"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)  # fmt: skip
def test_a_broken_parquet_is_one_sentence(data, sentence):
    with pytest.raises(VitEdgeError, match=sentence) as caught:
        read_runs(data)
    assert len(str(caught.value)) < 400


def test_a_parquet_of_two_columns_is_enough_and_others_are_not_looked_at():
    (found,) = read_runs(packed(run=[TEXT], tags=["a,b"], more=[{"deep": [1, 2]}]))
    assert (found.run.name, found.tags) == (a_run().name, ("a", "b"))
    assert read_runs(packed(run=[TEXT]))[0].tags == ()


def test_a_parquet_that_unfolds_to_more_than_may_be_read_is_refused():
    data = packed(run=["x" * 1_000_000] * 50)
    assert len(data) < 100_000
    with pytest.raises(VitEdgeError, match="unfolds to more than 40 MB"):
        read_runs(data)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not keep the limit of memory")
def test_a_parquet_that_unfolds_to_more_than_memory_takes_no_more_than_it_may(monkeypatch):
    import pyarrow as pa

    once = pa.DictionaryArray.from_arrays(pa.array([0] * 64, pa.int32()), pa.array(["x" * 2_000_000]))
    data = packed(store_schema=False, run=once)  # without the schema each row becomes a text of its own
    monkeypatch.setattr(run_files, "MAX_BYTES", 10**9)
    monkeypatch.setattr(run_files, "UNFOLD_MEMORY", 2**34)
    with pytest.raises(VitEdgeError, match="nor a table of text"):  # which is looked at afterwards
        read_runs(data)
    monkeypatch.setattr(run_files, "UNFOLD_MEMORY", 2**29)
    with pytest.raises(VitEdgeError, match="unfolds to more than"):
        read_runs(data)
    assert read_runs(packed(run=[TEXT]))


def test_files_that_are_too_large(monkeypatch):
    monkeypatch.setattr(run_files, "MAX_RUNS", 1)
    with pytest.raises(VitEdgeError, match="at most 1;"):
        read_runs(to_json(some()))
    monkeypatch.setattr(run_files, "MAX_BYTES", 100)
    with pytest.raises(VitEdgeError, match="MB"):
        read_runs(to_json(some()))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
PLACES = [("run", key) for key in a_run().to_dict()] + [
    ("run", "evaluation", key) for key in a_run().to_dict()["evaluation"]
] + [(*FIGURE, key) for key in ("value", "unit", "evidence", "source", "low", "high")]  # fmt: skip


@given(st.sampled_from(PLACES), JSON)
def test_whatever_stands_in_a_file_it_is_read_or_refused_in_a_sentence(path, value):
    try:
        (_, incoming) = read_runs(damaged(path, value))
    except VitEdgeError:
        return
    assert incoming.run.imported
    assert incoming.run.name
    to_csv([Entry(incoming.run.name, incoming.run)])


def test_links_of_strangers_are_shown_as_text():
    run = replace(a_run(), title="![see](http://tracker.invalid/x.png)")
    assert "](" not in read_runs(to_json([Entry(run.name, run)]))[0].run.title


def test_a_table_can_be_read_and_carries_out_no_formula():
    run = replace(a_run(), title="=HYPERLINK(1)")
    (row,) = csv.DictReader(io.StringIO(to_csv([Entry(run.name, run, ("x", "y"))]).decode()))
    assert row["images"] == "'=HYPERLINK(1)"
    assert row["tags"] == "x,y"
    assert (row["name"], float(row["accuracy"])) == (run.name, 0.9)
    assert read_runs(to_csv([Entry(run.name, run)]))[0].run.title == "=HYPERLINK(1)"


def test_parquet_has_numbers_where_numbers_are():
    import pyarrow.parquet as pq

    sent = some()
    table = pq.read_table(io.BytesIO(to_parquet(sent)))
    assert table["accuracy"].to_pylist() == [0.9, 0.9]
    assert table["latency_ratio"].to_pylist() == [0.7, None]
    assert table["tags"].to_pylist() == ["", "a,b c"]
    assert [runs.Run.from_dict(json.loads(text)) for text in table["run"].to_pylist()] == [e.run for e in sent]


def test_the_name_of_a_run_is_that_of_its_content():
    run = a_run()
    changed = [
        replace(run, time=2.0), replace(run, weights="others"), replace(run, machine="another"), a_run(0.4),
        a_run(accuracy=0.91), replace(run, engine="another"), replace(run, limit=None), a_run(digest="d2"),
    ]  # fmt: skip
    assert len({one.name for one in (run, *changed)}) == 1 + len(changed)
    switched = replace(run.recipe, steps=(*run.recipe.steps, Step.of("tome", enabled=False)))
    assert replace(run, evaluation=replace(run.evaluation, recipe=switched)).name == run.name
