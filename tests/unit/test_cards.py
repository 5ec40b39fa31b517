"""Docstrings as manuals, and recipes as snippets that run."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vitedge_core.techniques  # noqa: F401  fills the registry
from vitedge_core import registry
from vitedge_core.recipe import Recipe, Step
from vitedge_core.text.cards import HEADINGS, arxiv_link, manual
from vitedge_core.text.snippets import command, python

INLINE = """One sentence.

    Idea: A teacher
    speaks.

    Cost: None.

    Reference: Somebody, 2020.
    """
INDENTED = """One sentence.

    Idea:
        A teacher
        speaks.

    Cost:
        None.

    Reference:
        Somebody, 2020.
    """


@pytest.mark.parametrize("docstring", [INLINE, INDENTED])
def test_both_ways_of_writing_a_section_are_read_alike(docstring: str) -> None:
    text = manual(docstring)
    assert text.lead == "One sentence."
    assert text.sections == (("Idea", "A teacher speaks."), ("Cost", "None."), ("Reference", "Somebody, 2020."))
    assert text.section("When it fails") == ""


def test_paragraphs_stay_apart() -> None:
    assert manual("Lead.\n\nIdea:\n    One\n    two.\n\n    Three.").section("Idea") == "One two.\n\nThree."


def test_no_docstring_is_an_empty_manual() -> None:
    assert manual(None).sections == ()


@pytest.mark.parametrize("cls", registry.techniques(), ids=lambda cls: cls.card.key)
def test_every_technique_has_a_whole_manual(cls) -> None:
    text = manual(cls.__doc__)
    assert text.lead
    assert [heading for heading, _ in text.sections] == list(HEADINGS)


def test_arxiv_link() -> None:
    assert arxiv_link("2210.09461") == "[arXiv:2210.09461](https://arxiv.org/abs/2210.09461)"
    assert arxiv_link("") == ""


words = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)
scalars = st.one_of(st.booleans(), st.integers(-1000, 1000), st.floats(-1e3, 1e3), words)
recipes = st.builds(
    lambda steps, seed: Recipe("digits_vit_base", tuple(steps), seed),
    st.lists(st.builds(lambda k, v: Step.of("tome", **{f"k{k}": v}), words, scalars), max_size=3),
    st.integers(0, 99),
)


@given(recipes)
def test_the_python_lines_build_the_same_recipe(recipe: Recipe) -> None:
    lines = python(recipe)
    built = lines[lines.index("recipe = ") : lines.index("model = ")]
    names: dict = {"Recipe": Recipe, "Step": Step}
    exec(built, names)
    assert names["recipe"] == recipe


def test_the_command_line_survives_the_shell() -> None:
    recipe = Recipe(
        "mine/my model",
        (Step.of("uniform_ptq", w_bits=4, symmetric=True), Step.of("tome", enabled=False, r=3), Step.of("magnitude")),
    )
    assert shlex.split(command(recipe)) == [
        "python", "-m", "vitedge_core", "measure", "--model", "mine/my model",
        "--step", "uniform_ptq:symmetric=true,w_bits=4", "--step", "magnitude",
    ]  # fmt: skip
