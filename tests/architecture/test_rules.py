"""Rules that keep the code honest: layers, one method one file, whole cards, no prints, no vague names."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vitedge_core.techniques as catalogue
from vitedge_core.registry import techniques

ROOT = Path(__file__).parents[2]
CORE = ROOT / "vitedge_core"
SOURCES = sorted(CORE.rglob("*.py"))
HEADINGS = ("Idea", "Cost", "When it fails", "Reference")
FAMILIES = {path.name: path for path in Path(catalogue.__path__[0]).iterdir() if path.is_dir() and path.name[0] != "_"}


def test_imports_keep_to_the_layers():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("cls", techniques(), ids=lambda cls: cls.card.key)
def test_a_method_is_one_file_with_a_whole_card(cls):
    card = cls.card
    path = Path(inspect.getfile(cls))
    assert path.stem == card.key
    assert path.parent.name == card.family.name.lower()
    assert card.title
    assert re.search(r"\b(19|20)\d\d\b", card.reference), "the reference names no year"
    assert not card.arxiv or re.fullmatch(r"\d{4}\.\d{4,5}", card.arxiv)
    assert all(sentence.strip() == sentence and sentence.endswith(".") for sentence in card.differs)
    assert not card.measured or card.measured.endswith(".")


@pytest.mark.parametrize("cls", techniques(), ids=lambda cls: cls.card.key)
def test_the_docstring_is_the_manual(cls):
    text = inspect.getdoc(cls) or ""
    found = re.findall(rf"^({'|'.join(HEADINGS)}):(.*(?:\n(?:[ \t].*)?)*)", text, re.MULTILINE)
    assert tuple(name for name, _ in found) == HEADINGS
    assert all(len(" ".join(body.split())) > 20 for _, body in found), "a heading without a text"
    assert text.splitlines()[0].endswith(".")


@pytest.mark.parametrize("cls", techniques(), ids=lambda cls: cls.card.key)
def test_every_knob_is_explained(cls):
    for knob in cls.knobs():
        assert knob.label, knob.name
        assert knob.help.endswith("."), knob.name
        assert knob.check(cls.card.key, knob.default) == knob.default
        assert re.fullmatch(r"[a-z][a-z0-9_]*", knob.name)


def test_every_file_of_a_family_is_a_method():
    files = {path.stem for family in FAMILIES.values() for path in family.glob("*.py") if path.stem != "__init__"}
    assert files == {cls.card.key for cls in techniques()}


def test_titles_are_unique():
    titles = [cls.card.title for cls in techniques()]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CORE)))
def test_a_file_says_what_it_is_for_and_has_a_plain_name(path):
    assert not re.search(r"util|helper|common|misc|manager", path.stem)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = ast.get_docstring(tree)
    assert documented, "the first line must say what the file is for"
    assert documented.split("\n\n")[0].strip().endswith((".", ":"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CORE)))
def test_the_core_neither_prints_nor_draws_from_a_global_generator(path):
    text = path.read_text(encoding="utf-8")
    if path.name != "__main__.py" and path.parent.name != "cli":
        assert not re.search(r"^\s*print\(", text, re.MULTILINE)
    assert not re.search(
        r"\bnp\.random\.(?!default_rng|Generator|SeedSequence)\w|(?<![\w.])random\.(?!Random\()\w|^\s*from random ",
        text,
        re.MULTILINE,
    )


@pytest.mark.parametrize(
    "path", [*SOURCES, *(ROOT / "pages").glob("*.py"), ROOT / "app.py"], ids=lambda path: path.name
)
def test_no_place_of_one_machine_is_named(path):
    if path.exists():
        assert not re.search(r"/work/|/home/\w|/Users/\w|\.\./shared|/tmp/", path.read_text(encoding="utf-8"))
