"""The verb `runs`: what a person types about runs that were measured."""

import json

import pytest

from tests.unit.test_cli import answer, complaint  # noqa: F401  fixtures
from tests.unit.test_points import with_cost
from tests.unit.test_runs import a_run
from vitedge_core.__main__ import main
from vitedge_core.experiments.run_list import entries
from vitedge_core.experiments.runs import record


@pytest.fixture(autouse=True)
def names(tmp_path, monkeypatch):
    """Three runs, the latest first."""
    monkeypatch.setenv("VITEDGE_STORAGE", f"sqlite:///{tmp_path / 'runs.db'}")
    for number, (ratio, accuracy) in enumerate(((0.5, 0.80), (0.2, 0.94), (0.3, 0.93))):
        record(with_cost(a_run(ratio, accuracy=accuracy, time=86_400.0 * number, origin="Build"), 5e5))
    return [entry.name for entry in entries()]


@pytest.fixture
def said(capsys):
    def run(*arguments):
        assert main(["runs", *arguments]) == 0
        return capsys.readouterr().out

    return run


def test_list(said, answer, names):  # noqa: F811
    lines = said("list").splitlines()
    assert [line.split()[0] for line in lines[2:]] == names
    assert "head_mlp_magnitude:ratio=0.3" in lines[2]
    assert "91.0 to 95.0 %" in lines[2]
    assert "1 more" in said("list", "--limit", "2")
    assert [run["name"] for run in answer("runs", "list", "--text", "ratio=0.2")["runs"]] == names[1:2]
    found = answer("runs", "list", "--since", "1970-01-02", "--until", "1970-01-03", "--model", "tiny")
    assert (found["found"], found["runs"][0]["evaluation"]["n"]) == (1, 500)
    assert answer("runs", "list", "--origin", "sweep") == {"runs": [], "found": 0}


def test_compare(said, answer, names):  # noqa: F811
    lines = said("compare", names[0][:6], names[2]).splitlines()
    (knob,) = (line for line in lines if "head_mlp_magnitude ratio" in line)
    assert knob.split() == ["*", "head_mlp_magnitude", "ratio", "0.3", "0.5"]
    (accuracy,) = (line for line in lines if line[3:].startswith("Accuracy  "))
    assert accuracy.startswith("*")
    assert accuracy.endswith("80.0 % (78.0 to 82.0 %): differs")
    plain = answer("runs", "compare", *names)
    assert plain["figures"]["accuracy"]["verdicts"] == ["within the intervals", "differs"]
    assert plain["figures"]["accuracy"]["against_first"][1]["value"] == pytest.approx(-0.13)


def test_delete_and_undo(said, answer, names):  # noqa: F811
    assert answer("runs", "delete", *names[:2]) == {"deleted": names[:2]}
    assert [entry.name for entry in entries()] == names[2:]
    assert "2 brought back" in said("undo")
    assert [entry.name for entry in entries()] == names


def test_tag(said, answer, names):  # noqa: F811
    assert answer("runs", "tag", names[0], names[1], "--add", "paper") == {"tags": {n: ["paper"] for n in names[:2]}}
    said("tag", names[1], "--remove", "paper")
    assert [run["name"] for run in answer("runs", "list", "--tag", "paper")["runs"]] == names[:1]


@pytest.mark.parametrize("kind", ["json", "csv", "parquet"])
def test_export_and_import_into_another_store(kind, answer, names, tmp_path, monkeypatch):  # noqa: F811
    file = str(tmp_path / f"runs.{kind}")
    answer("runs", "tag", names[0], "--add", "paper")
    assert answer("runs", "export", names[0], names[1], "--out", file) == {"file": file, "runs": 2}
    monkeypatch.setenv("VITEDGE_STORAGE", f"sqlite:///{tmp_path / 'other.db'}")
    assert answer("runs", "import", file) == {"new": 2, "known": 0, "restored": 0}
    assert answer("runs", "import", file) == {"new": 0, "known": 2, "restored": 0}
    assert [(run["name"], run["tags"], run["imported"]) for run in answer("runs", "list")["runs"]] == [
        (names[0], ["paper"], True), (names[1], [], True),
    ]  # fmt: skip
    assert answer("runs", "list", "--origin", "imported")["found"] == 2


def test_mistakes_are_one_sentence(complaint, names, tmp_path):  # noqa: F811
    (tmp_path / "no.json").write_text(json.dumps({"format": "something"}))
    for arguments, sentence in {
        ("compare", names[0]): "2 to 6 runs",
        ("compare", names[0], "ffffffffffff"): "There is no run",
        ("delete", "abc"): "There is no run",
        ("tag", names[0]): "--add",
        ("tag", names[0], "--add", "a,b"): "A tag has",
        ("undo",): "No deletion",
        ("export", "--out", str(tmp_path / "runs.xlsx")): ".parquet",
        ("export", "--model", "absent", "--out", str(tmp_path / "runs.csv")): "nothing to export",
        ("import", str(tmp_path / "absent.json")): "There is no file",
        ("import", str(tmp_path / "no.json")): "no file with runs",
        ("list", "--since", "yesterday"): "no day",
        ("forget",): "",
        (): "",
    }.items():
        assert sentence in complaint("runs", *arguments)
    assert [entry.name for entry in entries()] == names
