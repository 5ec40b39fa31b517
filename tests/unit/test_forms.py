"""Forms in which models leave: checked before they are kept, whole or not at all, with the recipe inside."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.unit.test_package import S, carry_out, images
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.export import FORMS, form
from vitedge_core.export.check import FLOATS, INTEGERS, Check, Limits, compared
from vitedge_core.export.forms import ConversionError, Form, Parcel, write
from vitedge_core.export.loaded import load
from vitedge_core.export.passport import Passport
from vitedge_core.models.load import preprocessing

NAME = "digits_vit_small"
PRUNED = (S("head_mlp_magnitude", ratio=0.5),)
ROUNDED = (*PRUNED, S("uniform_ptq", w_bits=8, a_bits=8))


def parcel_of(*steps: Any, **more: Any) -> Parcel:
    model, plan, recipe = carry_out(NAME, *steps)
    return Parcel(model, plan, recipe, preprocessing(NAME), images(50), "noise", lambda: images(8), **more)


@pytest.fixture(scope="module")
def pruned() -> Parcel:
    return parcel_of(*PRUNED)


@pytest.fixture(scope="module")
def rounded() -> Parcel:
    return parcel_of(*ROUNDED)


def logits(parcel: Parcel) -> torch.Tensor:
    with torch.inference_mode():
        return parcel.model(parcel.proof)


class Words(Form):
    """Writes the weights of the last layer, so that a test need not wait."""

    key, title, ending, purpose, lacks = "words", "Words", ".txt", "For tests.", "Everything."
    wrong = 0.0

    def convert(self, parcel: Parcel) -> Any:
        return logits(parcel) + self.wrong

    def save(self, converted: Any, passport: Passport, path: Any) -> None:
        torch.save(converted, path)
        path.with_suffix(".more").write_text(str(passport.card.get("check", "")))

    def answers(self, path: Any, images: torch.Tensor) -> torch.Tensor:
        return torch.load(path, weights_only=True)


def names(folder: Any) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole_with_its_check_inside(pruned, tmp_path):
    told = []
    written = write(Words(), replace(pruned, report=lambda share, text: told.append(share)), tmp_path / "m.txt")
    assert names(tmp_path) == ["m.more", "m.txt"]
    assert "same_answers" in (tmp_path / "m.more").read_text()
    assert written.size.value == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert (written.check["same_answers"].value, written.check["largest_difference"].value) == (1.0, 0.0)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_a_file_that_answers_otherwise_is_not_kept(pruned, tmp_path):
    class Wrong(Words):
        wrong = 1.0

    with pytest.raises(VitEdgeError, match=r"Words was not kept: the written file gives logits that differ by"):
        write(Wrong(), pruned, tmp_path / "m.txt")
    assert not names(tmp_path)


@pytest.mark.parametrize("moment", range(5))
def test_cancelling_leaves_nothing_at_any_moment(pruned, tmp_path, moment):
    asked = iter(range(100))
    parcel = replace(pruned, cancelled=lambda: next(asked) >= moment)
    (tmp_path / "m.txt").write_text("the older one")
    with pytest.raises(Cancelled, match="nothing was written"):
        write(Words(), parcel, tmp_path / "m.txt")
    assert names(tmp_path) == ["m.txt"]
    assert (tmp_path / "m.txt").read_text() == "the older one"


@pytest.mark.parametrize(
    "problem", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), MemoryError()]
)
def test_a_full_disk_or_a_kill_leaves_nothing(pruned, tmp_path, problem):
    class Breaks(Words):
        def save(self, converted, passport, path):
            path.write_text("half")
            raise problem

    expected = VitEdgeError if isinstance(problem, OSError) else type(problem)
    with pytest.raises(expected, match="No space left" if isinstance(problem, OSError) else None):
        write(Breaks(), pruned, tmp_path / "m.txt")
    assert not names(tmp_path)


def test_names_that_do_not_fit(pruned, tmp_path):
    for path, words in (("m.onnx", "ends in .txt"), ("folder.txt", "is a folder")):
        (tmp_path / "folder.txt").mkdir(exist_ok=True)
        with pytest.raises(VitEdgeError, match=words):
            write(Words(), pruned, tmp_path / path)
    with pytest.raises(VitEdgeError, match=r"is a folder or a \.zip"):
        write(form("package"), pruned, tmp_path / "m.onnx")


def test_a_missing_library_is_a_line_to_type(pruned, tmp_path):
    class Needy(Words):
        modules, pip = ("no_such_library",), "pip install no-such-library"

    with pytest.raises(VitEdgeError, match=r"Words needs no_such_library, .*; run: pip install no-such-library"):
        write(Needy(), pruned, tmp_path / "m.txt")


def test_what_cannot_be_converted_is_told_apart(pruned, tmp_path):
    class Never(Words):
        def convert(self, parcel):
            raise VitEdgeError("No words for it.")

    with pytest.raises(ConversionError, match="No words for it"):
        write(Never(), pruned, tmp_path / "m.txt")


def test_limits_of_a_check():
    ours = torch.eye(10)
    assert compared(ours, ours, "x").wrong(Limits(0.0, 1.0)) is None
    assert "differ by 10 %" in str(compared(ours, ours + 0.1, "x").wrong(INTEGERS))
    assert compared(ours, ours * float("nan"), "x").wrong(INTEGERS)
    assert "another class on 1 of 10" in str(Check(10, 9, 0.0, "x").wrong(FLOATS))
    assert Check(50, 48, 0.01, "x").wrong(INTEGERS) is None
    assert Check(50, 47, 0.01, "x").wrong(INTEGERS)


def test_every_form_says_what_it_is():
    assert len({one.key for one in FORMS}) == len(FORMS)
    for one in FORMS:
        for sentence in (one.purpose, one.lacks):
            assert sentence.endswith(".")
            assert len(sentence) < 120
    with pytest.raises(VitEdgeError, match="did you mean 'onnx"):
        form("onx")


@pytest.mark.slow
@pytest.mark.parametrize("key", ["package", "onnx"])
def test_a_pruned_model_comes_back_from_its_file(pruned, tmp_path, key):
    comes_back(pruned, key, tmp_path, FLOATS.difference)


@pytest.mark.parametrize(
    "key",
    ["package", pytest.param("onnx-int8", marks=pytest.mark.slow), pytest.param("openvino", marks=pytest.mark.slow)],
)
def test_a_rounded_model_comes_back_from_its_file(rounded, tmp_path, key):
    comes_back(rounded, key, tmp_path, FLOATS.difference if key == "package" else INTEGERS.difference)


def comes_back(parcel: Parcel, key: str, folder: Any, tolerance: float) -> None:
    """Written, opened as a stranger's file is, and asked in batches of another size than it was traced with."""
    wanted = form(key)
    written = write(wanted, replace(parcel, card={"note": "own words"}), folder / f"m{wanted.ending}")
    loaded = load(written.path)
    assert loaded.passport is not None
    assert (loaded.recipe, loaded.passport.preparation) == (parcel.recipe, parcel.preparation)
    assert loaded.passport.card["note"] == "own words"
    assert loaded.passport.card["check"]["same_answers"]["value"] == written.check["same_answers"].value
    assert (loaded.side, loaded.classes) == (48, 10)
    if key != "package":
        assert loaded.size == written.size.value
    answers = torch.cat([loaded.model(part) for part in parcel.proof.split(7)])
    apart = float((answers - logits(parcel)).abs().max() / logits(parcel).abs().max())
    assert apart <= tolerance
    dense = sum(p.numel() for p in parcel.model.parameters()) * 4
    if parcel.plan.quantised:
        weights = written.path.with_suffix(".bin") if key == "openvino" else written.path  # its .xml is all words
        assert weights.stat().st_size < 0.75 * dense


@pytest.mark.slow
def test_pt2_is_the_very_model_and_carries_the_recipe(pruned, tmp_path):
    written = write(form("pt2"), pruned, tmp_path / "m.pt2")
    extra = {"vitedge.recipe": "", "vitedge.digest": ""}
    module = torch.export.load(written.path, extra_files=extra).module()
    assert (extra["vitedge.recipe"], extra["vitedge.digest"]) == (pruned.recipe.to_json(), pruned.recipe.digest)
    with torch.inference_mode():
        assert torch.equal(module(pruned.proof[:5]), logits(pruned)[:5])


@pytest.mark.slow
@pytest.mark.parametrize("steps", [PRUNED, (S("tome", r=4),)], ids=["pruned", "tome"])
def test_pte_runs_in_executorchs_own_runtime(tmp_path, steps):
    runtime = pytest.importorskip("executorch.runtime")
    parcel = parcel_of(*steps)
    written = write(form("pte"), replace(parcel, proof=parcel.proof[:8]), tmp_path / "m.pte")
    assert written.check["same_answers"].value == 1.0
    program = runtime.Runtime.get().load_program(written.path)
    assert program.load_method("vitedge_recipe").execute([]) == [parcel.recipe.to_json()]


@pytest.mark.parametrize(
    ("key", "bits", "words"),
    [
        ("onnx", (8, 8), "choose ONNX int8"), ("onnx-int8", (4, 8), "asks for 4"), ("openvino", (8, 6), "asks for 6"),
        ("pte", (8, 8), "leave activations in float"), ("onnx", (4, 32), ""), ("openvino", (4, 32), ""),
        ("package", (3, 5), ""), ("pt2", (3, 5), ""),
    ],
)  # fmt: skip
def test_which_bits_can_leave_in_which_form(key, bits, words):
    from vitedge_core.compress import plan_recipe
    from vitedge_core.recipe import Recipe

    plan = plan_recipe(Recipe(NAME, (S("uniform_ptq", w_bits=bits[0], a_bits=bits[1]),))).last
    why = form(key).supports(plan)
    assert (words in why) if words and why else (why is None) == (words == "")
