"""A model card in plain words: what was done to the model, every figure with what it rests on, and how to use it.

After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019, arXiv 1810.03993.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitedge_core.evidence import Quantity
from vitedge_core.recipe import Recipe, Step
from vitedge_core.text.human import human, interval

_NAMES = {
    "params": "Parameters",
    "macs": "Multiply-accumulates of one image",
    "weight_bytes": "Weights file",
    "peak_memory_bytes": "Peak memory of one image",
    "measured_memory_bytes": "Peak memory of one image, measured",
    "latency_seconds": "Latency of one image",
    "accuracy": "Accuracy (top-1)",
    "pointing_hits": "Points at the object",
    "attention_on_object": "Attention on the object",
    "attention_kept": "Attention kept",
    "difference": "Change of the accuracy",
    "latency_ratio": "Latency against the uncompressed model",
    "same_answers": "Same answer as the model in PyTorch",
    "largest_difference": "Largest difference of a logit, against the largest logit",
}
_PAGE = """# {title}

Made with VitEdge. Every figure says how it is known: measured (counted or timed), predicted (by a model that can be
wrong), published (from a paper) or simulated (what it would be if hardware existed for it).

## What was done

{steps}

The recipe in full is `recipe.json`; its digest is `{digest}`, its seed {seed}.

## Figures

{figures}

## Images

{images}

## How to use it

`python rebuild.py` builds the model with nothing but torch, timm, numpy and safetensors; in a script, `from rebuild
import rebuilt` and `model = rebuilt()`. Weights are stored at their real bits; rebuilt they are float32 with the same
values, and activations are rounded in float, so the answers are those of the package, and the speed is not that of an
integer engine.

## What to mind

Accuracy was measured on the images that its source names and says nothing of others. Compression can hurt some classes
more than the mean shows.
"""
_COLUMNS = ("Figure", "Model", "Value", "95 % interval", "Evidence", "Source")


def model_card(recipe: Recipe, card: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        recipe: What was done.
        card: As the package keeps it: "baseline", "compressed", and what else was measured, as plain quantities;
            "preparation" of the images, "classes"; what is absent is left out.
    """
    steps = "\n".join(f"{number}. {_step(step)}" for number, step in enumerate(recipe.active, 1))
    figures = list(_figures(card))
    return _PAGE.format(
        title=f"{recipe.model}, {'compressed' if recipe.active else 'uncompressed'}",
        steps=steps or "Nothing: these are the model's own weights.",
        digest=recipe.digest,
        seed=recipe.seed,
        figures="\n\n".join(
            [_table(figures) if figures else "None was measured before the file was written.", *_notes(card)]
        ),
        images=_images(card),
    )


def _step(step: Step) -> str:
    knobs = ", ".join(f"{name} = {value}" for name, value in step.params)
    return f"`{step.technique}`" + (f" with {knobs}" if knobs else " as it is set by default")


def _figures(card: Mapping[str, Any]) -> list[tuple[str, str, Quantity]]:
    """Name, whose it is, and the quantity."""
    found = [
        (name, title, quantity)
        for title, part in (("uncompressed", "baseline"), ("this one", "compressed"))
        for name, plain in (card.get(part) or {}).items()
        if (quantity := _quantity(plain))
    ]
    order = {name: number for number, name in enumerate(_NAMES)}
    found.sort(key=lambda row: order.get(row[0], len(order)))
    single = [(name, "both", _quantity(card.get(name))) for name in ("difference", "latency_ratio")]
    single += [(name, "this file", _quantity(plain)) for name, plain in (card.get("check") or {}).items()]
    return found + [(name, title, quantity) for name, title, quantity in single if quantity]


def _quantity(plain: Any) -> Quantity | None:
    """The quantity that plain values describe; None for anything else."""
    try:
        return Quantity.from_dict(plain)
    except ValueError:
        return None


def _table(figures: list[tuple[str, str, Quantity]]) -> str:
    rows = [_COLUMNS, ("---",) * len(_COLUMNS)]
    for name, title, found in figures:
        said = human(found, signed=name == "difference")
        bounds = interval(found, signed=name == "difference") or "not known"
        rows.append((_NAMES.get(name, name), title, said, bounds, found.evidence.value, found.source))
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _notes(card: Mapping[str, Any]) -> list[str]:
    notes = [str(note) for note in card.get("notes") or ()]
    return ["\n".join(f"- {note}" for note in notes)] if notes else []


def _images(card: Mapping[str, Any]) -> str:
    wanted = card.get("preparation")
    if not isinstance(wanted, Mapping):
        return "Prepared as the uncompressed model wants them."
    mean, std = (", ".join(f"{value:g}" for value in wanted[name]) for name in ("mean", "std"))
    return (
        f"RGB, {wanted['size']}x{wanted['size']} pixels, the middle {100 * wanted['crop']:g} % after "
        f"{wanted['interpolation']} resampling, values 0 to 1 minus the mean ({mean}) over the deviation ({std})."
    )
