"""Measure an exported file as it is: accuracy on images, and latency beside the model in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vitedge_core.compress import compress, context_for, technique_of
from vitedge_core.datasets.sets import LabelledImages
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Quantity
from vitedge_core.experiments.evaluate import images_for, notes_on, section, tested_on
from vitedge_core.experiments.evaluation import QUICK
from vitedge_core.export.loaded import Loaded, load
from vitedge_core.measure import accuracy
from vitedge_core.measure.latency import check_threads, compare
from vitedge_core.models.load import has_weights, preprocessing
from vitedge_core.preprocessing import Preprocessing
from vitedge_core.recipe import Recipe

Report = Callable[[float, str], None]
Cancel = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class FileMeasured:
    """What was measured of a file.

    recipe: what the file says was done to the model, or the model it is compared with. accuracy, size: the file's own.
    difference, ratio, latency: against the recipe's model in PyTorch, where it can be had here; None else.
    """

    loaded: Loaded
    recipe: Recipe
    n: int
    size: Quantity
    accuracy: Quantity
    difference: Quantity | None = None
    latency: Quantity | None = None
    eager: Quantity | None = None
    ratio: Quantity | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the command line prints them."""
        figures = self.figures
        return {
            "file": str(self.loaded.path), "form": self.loaded.form, "recipe": self.recipe.to_dict(), "n": self.n,
            **{name: figures[name].to_dict() if name in figures else None for name in FIGURES},
            "notes": list(self.notes),
        }  # fmt: skip

    @property
    def figures(self) -> dict[str, Quantity]:
        """What is known of it, by the names in `FIGURES`."""
        return {name: figure for name in FIGURES if (figure := getattr(self, name)) is not None}


FIGURES = {
    "size": "File", "accuracy": "Accuracy", "difference": "Against PyTorch", "latency": "Latency",
    "eager": "Latency in PyTorch", "ratio": "Latency against PyTorch",
}  # fmt: skip


def measure_file(
    path: Path,
    images: str | LabelledImages | None = None,
    limit: int | None = QUICK,
    *,
    model: str = "",
    latency: bool = True,
    threads: int = 1,
    report: Report = lambda share, sentence: None,
    cancelled: Cancel = lambda: False,
) -> FileMeasured:
    """Open a file, from here or from a stranger, and measure it.

    Args:
        path: What `export.loaded.load` opens.
        images: A set or what `open_images` takes; by default those of the model.
        limit: Images at most, None for all.
        model: For a file that says nothing of itself: whose images it takes, prepared alike.
        latency: Whether to time it beside the model in PyTorch.
        threads: Of the timed passes.
        report: Called with the share done in 0..1 and a sentence.
        cancelled: Asked often.

    Raises:
        VitEdgeError: It cannot be opened, nobody knows how it wants its images, or they do not fit.
    """
    check_threads(threads)
    report(0.0, "Opening the file.")
    loaded = load(path)
    recipe, wanted = _wanted(loaded, model)
    opened = images_for(recipe.model, images)
    _check_fit(loaded, wanted, opened)
    tested = tested_on(recipe, opened)
    found = accuracy.evaluate(
        loaded.model, tested, wanted, limit, report=section(report, 0.05, 0.4), cancelled=cancelled
    )
    size = Quantity.exact(loaded.size, "byte", f"size of {loaded.path.name}")
    twin, notes = _twin(recipe, opened, section(report, 0.4, 0.6), cancelled)
    notes = (*_own_notes(loaded, recipe), *notes_on(opened, tested), *notes)
    if twin is None:
        return FileMeasured(loaded, recipe, found.n, size, found.top1, notes=notes)
    ours = accuracy.evaluate(twin, tested, wanted, limit, report=section(report, 0.6, 0.8), cancelled=cancelled)
    change = accuracy.difference(ours, found)
    if not latency:
        return FileMeasured(loaded, recipe, found.n, size, found.top1, change, notes=notes)
    example = next(iter(tested.batches(wanted, 1, 1))).images
    part = section(report, 0.8, 1.0)
    timed = _timed(loaded.model, twin, example, threads, report=part, cancelled=cancelled)
    return FileMeasured(loaded, recipe, found.n, size, found.top1, change, *timed[:3], notes=(*notes, *timed[3]))


def _wanted(loaded: Loaded, model: str) -> tuple[Recipe, Preprocessing]:
    """The recipe behind the file, and how it wants its images."""
    if loaded.passport is not None:
        return loaded.passport.recipe, loaded.passport.preparation
    if not model:
        raise VitEdgeError(
            f"{loaded.path.name[:80]} does not say how it wants its images; name a model whose images it takes "
            "(--model NAME)."
        )
    return Recipe(model), preprocessing(model)


def _check_fit(loaded: Loaded, wanted: Preprocessing, images: LabelledImages) -> None:
    """Refuse a file that takes images of another size, or names other classes."""
    if loaded.side not in {0, wanted.size}:
        raise VitEdgeError(
            f"{loaded.path.name[:80]} takes images of {loaded.side} pixels a side and the model named takes "
            f"{wanted.size}; name the model it came from."
        )
    if loaded.classes not in {0, len(images.class_names)}:
        raise VitEdgeError(
            f"{loaded.path.name[:80]} names {loaded.classes:,} classes and {images.title} has "
            f"{len(images.class_names):,}; choose images of its classes."
        )


def _own_notes(loaded: Loaded, recipe: Recipe) -> tuple[str, ...]:
    if loaded.passport is None:
        return (f"The file says nothing of itself; it is compared with the uncompressed {recipe.model}.",)
    return ()


def _twin(
    recipe: Recipe, images: LabelledImages, report: Report, cancelled: Cancel
) -> tuple[nn.Module | None, tuple[str, ...]]:
    """The recipe's model in PyTorch, carried out anew; a sentence where it cannot be had."""
    try:
        if not has_weights(recipe.model):
            return None, (f"{recipe.model} has no weights here, so the file stands alone.",)
        if any(technique_of(step).card.trains for step in recipe.active):
            return None, ("Its recipe trains, which is not done again here, so the file stands alone.",)
        return compress(recipe, context_for(recipe, images), report, cancelled).model, ()
    except Cancelled:
        raise
    except VitEdgeError as error:
        return None, (f"The file stands alone: its recipe cannot be carried out here. {error}",)


def _timed(
    file: nn.Module, twin: nn.Module, example: Tensor, threads: int, *, report: Report, cancelled: Cancel
) -> tuple[Quantity, Quantity, Quantity, tuple[str, ...]]:
    """Latency of the file, of the model in PyTorch, their ratio, and a warning where the machine was busy."""
    timings = compare({"file": file, "PyTorch": twin}, example, threads, report=report, cancelled=cancelled)
    notes = (timings.warning,) if timings.warning else ()
    return timings.median("file"), timings.median("PyTorch"), timings.ratio("file", "PyTorch"), notes
