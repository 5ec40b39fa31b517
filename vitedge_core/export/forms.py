"""The forms in which a model leaves: what each is, needs and does not carry, and one way to write them all.

A file is written beside its place under another name, opened in its own runtime, asked about real images, and moved to
its place only if it answers as the model does. A kill or a full disk leaves what was there before.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Quantity
from vitedge_core.export.check import FLOATS, Limits, compared
from vitedge_core.export.passport import Passport
from vitedge_core.plan import Plan
from vitedge_core.preprocessing import Preprocessing
from vitedge_core.recipe import Recipe


class ConversionError(VitEdgeError):
    """A model that a form has no words for."""


CANCELLED = "The export was cancelled; nothing was written."


@dataclass(frozen=True)
class Parcel:
    """A model on its way out; nobody changes it.

    model: after its recipe, in eval mode, on the CPU. proof: prepared images [n, 3, height, width] that the file is
    asked about; where: what they are, in words. calibration: gives prepared images that no accuracy is measured on,
    only called by forms that find scales of their own. card: figures as plain values. words: puts recipe and card into
    a page of text, for forms that carry one. report: share done in 0..1 and a sentence. cancelled: asked often.
    """

    model: nn.Module
    plan: Plan
    recipe: Recipe
    preparation: Preprocessing
    proof: Tensor
    where: str
    calibration: Callable[[], Tensor]
    card: Mapping[str, Any] = field(default_factory=dict)
    words: Callable[[Recipe, Mapping[str, Any]], str] | None = None
    report: Callable[[float, str], None] = lambda share, sentence: None
    cancelled: Callable[[], bool] = lambda: False

    def tick(self, share: float, sentence: str) -> None:
        """Say how far it is, and stop here if the user asked for it."""
        if self.cancelled():
            raise Cancelled(CANCELLED)
        self.report(share, sentence)

    def passport(self, form: str) -> Passport:
        """What the file will say of itself."""
        return Passport(form, self.recipe, self.preparation, self.plan.classes, self.card)


@dataclass(frozen=True)
class Written:
    """A file that left. size: bytes of all its parts. check: how it answered, by name as in the model card."""

    path: Path
    size: Quantity
    check: Mapping[str, Quantity]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form(ABC):
    """A file format with what goes into it.

    key: command-line word and test id. title: for people. ending: of the file's name. purpose: one sentence, what it is
    for. lacks: one sentence, what it does not carry. integers: whether it is for recipes that
    quantise. modules, pip: what it needs, and the line that installs it.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    ending: ClassVar[str]
    purpose: ClassVar[str]
    lacks: ClassVar[str]
    integers: ClassVar[bool] = False
    modules: ClassVar[tuple[str, ...]] = ()
    pip: ClassVar[str] = ""

    def missing(self) -> str | None:
        """None where it is installed; else one sentence with the line that installs it. Imports nothing."""
        absent = [name for name in self.modules if find_spec(name) is None]
        if not absent:
            return None
        return f"{self.title} needs {' and '.join(absent)}, which is not installed here; run: {self.pip}"

    def supports(self, plan: Plan) -> str | None:
        """None, or one sentence that says why what a recipe makes cannot leave in this form, and the way out."""
        return None

    @abstractmethod
    def convert(self, parcel: Parcel) -> Any:
        """The model in the form's own words, in memory.

        Raises:
            VitEdgeError: It cannot be said in them.
        """

    @abstractmethod
    def save(self, converted: Any, passport: Passport, path: Path) -> None:
        """Write it, and its other parts beside it under the same stem; `path` is in a folder of its own."""

    @abstractmethod
    def answers(self, path: Path, images: Tensor) -> Tensor:
        """Logits [n, K] of prepared images [n, 3, height, width] as the file gives them in its own runtime."""

    def limits(self, plan: Plan) -> Limits:
        """How far a file's answers may be from the model's."""
        return FLOATS

    def notes(self, plan: Plan) -> tuple[str, ...]:
        """What must be said of the numbers in this file, a sentence each."""
        return ()

    def place(self, folder: Path, path: Path) -> None:
        """Move the finished parts from a folder to their place; the one that is named comes last."""
        for made in sorted(folder.iterdir(), key=lambda part: part.name == path.name):
            os.replace(made, path.parent / made.name)

    def target(self, path: Path) -> Path:
        """Where it will lie, if it may.

        Raises:
            VitEdgeError: The name is of another form, or is that of a folder.
        """
        path = Path(path).expanduser().absolute()
        if path.suffix.lower() != self.ending:
            raise VitEdgeError(
                f"{self.title} is kept in a file that ends in {self.ending}, which {path.name} does not."
            )
        if path.is_dir():
            raise VitEdgeError(f"{path} is a folder; name a file in it.")
        return path


def write(form: Form, parcel: Parcel, path: Path) -> Written:
    """Write a model in a form; it appears whole and checked, or not at all.

    Raises:
        VitEdgeError: A package is missing, the recipe cannot leave in this form, the file would not answer as the model
            does, or it cannot be written; one sentence.
        Cancelled: The parcel said so; no file stays behind.
    """
    problem = form.missing() or form.supports(parcel.plan)
    if problem:
        raise VitEdgeError(problem)
    path = form.target(path)
    parcel.tick(0.0, f"Converting to {form.title}.")
    try:
        converted = form.convert(parcel)
    except Cancelled:
        raise
    except VitEdgeError as error:
        raise ConversionError(str(error)) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as spare:
            check = _saved(form, converted, parcel, Path(spare) / path.name)
            size = _size(Path(spare))
            parcel.tick(0.98, "Moving the file to its place.")
            form.place(Path(spare), path)
    except OSError as error:
        raise VitEdgeError(f"{path} cannot be written: {error.strerror or error}.") from error
    parcel.report(1.0, "Written.")
    return Written(path, size, check, form.notes(parcel.plan))


def _saved(form: Form, converted: Any, parcel: Parcel, path: Path) -> dict[str, Quantity]:
    """Write it, ask it, and write it again with what it answered in its card."""
    passport = parcel.passport(form.key)
    parcel.tick(0.6, "Writing the file.")
    form.save(converted, passport, path)
    parcel.tick(0.7, f"Asking it about {len(parcel.proof)} images.")
    with torch.inference_mode():
        ours = parcel.model(parcel.proof)
    check = compared(ours, form.answers(path, parcel.proof), parcel.where)
    wrong = check.wrong(form.limits(parcel.plan))
    if wrong:
        raise VitEdgeError(f"{form.title} was not kept: the written file {wrong}; choose another form.")
    parcel.tick(0.9, "Writing the check into its card.")
    plain = {name: quantity.to_dict() for name, quantity in check.figures.items()}
    form.save(converted, replace(passport, card={**passport.card, "check": plain}), path)
    return check.figures


def _size(folder: Path) -> Quantity:
    parts = [part for part in folder.rglob("*") if part.is_file()]
    size = sum(part.stat().st_size for part in parts)
    return Quantity.exact(size, "byte", f"size of the written {' and '.join(sorted(part.name for part in parts)[:3])}")
