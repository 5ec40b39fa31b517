"""Notes about runs: deletions that can be undone, tags that two processes give at once."""

import pytest

from tests.unit.test_runs import a_run
from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments import run_notes, runs, store
from vitedge_core.experiments.runs import all_runs, find, kept, record


@pytest.fixture
def url(tmp_path, monkeypatch):
    where = f"sqlite:///{tmp_path / 'runs.db'}"
    monkeypatch.setenv("VITEDGE_STORAGE", where)
    monkeypatch.setattr(runs, "_weights", lambda model: f"weights of {model}")
    for ratio in (0.1, 0.2, 0.3):
        record(a_run(ratio))
    return where


def names():
    return [one.name for one in kept()]


def test_what_is_deleted_is_neither_listed_nor_found_and_comes_back(url):
    first, second, third = names()
    run_notes.delete([second])
    run_notes.delete([first, third])
    assert all_runs() == ()
    assert not find(a_run(0.1).recipe, "d1", 500)
    assert set(run_notes.undo()) == {first, third}
    assert names() == [first, third]
    assert find(a_run(0.1).recipe, "d1", 500)
    assert run_notes.undo() == (second,)
    assert names() == [first, second, third]
    with pytest.raises(VitEdgeError, match="No deletion"):
        run_notes.undo()


def test_a_deletion_of_which_a_part_came_back_is_undone_for_the_rest(url):
    first, second, third = names()
    run_notes.delete([first, second])
    run_notes.restore([second, third])
    assert run_notes.notes().last == (first,)
    assert run_notes.undo() == (first,)


def test_a_run_measured_again_after_its_deletion_is_another_run(url):
    run_notes.delete(names())
    record(a_run(0.1, time=2.0))
    assert [run.time for run in all_runs()] == [2.0]


def test_notes_outlive_the_process(url):
    run_notes.delete(names()[:1])
    run_notes.tag(names(), ["paper"])
    run_notes._read.clear()
    store._open.cache_clear()
    assert len(names()) == 2
    assert [run_notes.notes().tags[name] for name in names()] == [("paper",)] * 2


def test_tags_are_added_and_taken_away_without_overwriting_others(url):
    one, other, _ = names()
    run_notes.tag([one, other], ["b"])
    run_notes.tag([one], [" a ", "c"], ["b"])
    run_notes.tag([other], remove=["b"])
    assert run_notes.notes().tags == {one: ("a", "c")}


@pytest.mark.parametrize("word", ["", "  ", "x" * 41, "a\nb", "[link](http://x)", "a,b", "<b>"])
def test_what_is_no_tag(url, word):
    with pytest.raises(VitEdgeError, match="A tag has"):
        run_notes.tag(names(), [word])
    assert run_notes.notes().tags == {}


def test_a_run_has_a_dozen_tags_at_most(url):
    run_notes.tag(names(), [f"t{number}" for number in range(12)])
    with pytest.raises(VitEdgeError, match="at most 12"):
        run_notes.tag(names()[:1], ["t12"])
    run_notes.tag(names(), ["t12"], ["t0"])


def test_a_deleted_run_keeps_its_place_because_optuna_drops_and_empties_no_trial(url):
    """If this fails, deleted runs can be purged at last."""
    import optuna

    run_notes.delete(names())
    home = store.study(runs.STUDY)
    (trial, *_) = home.get_trials(deepcopy=False)
    assert len(home.trials) == 3
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        store.storage().set_trial_user_attr(trial._trial_id, "run", {})
    offered = [word for word in dir(store.storage()) if not word.startswith("_")]
    assert {word for word in offered if "delete" in word or "remove" in word} == {"delete_study", "remove_session"}


def test_what_another_version_noted_is_passed_over(url):
    store.study(run_notes.STUDY, create=True).enqueue_trial({})
    assert len(names()) == 3
