"""The verbs that list what there is: models, methods, images."""

from __future__ import annotations

import argparse
from typing import Any

from vitedge_core.cli.asking import IMAGES, Adder
from vitedge_core.cli.telling import print_json, print_table


def models(arguments: argparse.Namespace) -> None:
    """Models that can be picked."""
    from vitedge_core.models.load import has_weights
    from vitedge_core.models.zoo import cards

    found = [card for card in cards() if arguments.search.lower() in f"{card.name} {card.title} {card.family}".lower()]
    if arguments.json:
        print_json({"models": [_model(card, has_weights(card.name)) for card in found]})
        return
    rows = [("Name", "Family", "Params", "MACs", "Top-1", "Weights here")]
    for card in found:
        top1 = f"{card.top1.value:.1%}" if card.top1 else ""
        here = "yes" if has_weights(card.name) else ""
        rows.append((card.name, card.family, f"{card.params / 1e6:.2f} M", f"{card.macs / 1e9:.3f} G", top1, here))
    print_table(rows)


def _model(card: Any, weights: bool) -> dict[str, Any]:
    return {
        "name": card.name, "title": card.title, "family": card.family, "task": card.task, "params": card.params,
        "macs": card.macs, "image": card.image, "top1": card.top1.to_dict() if card.top1 else None,
        "licence": card.licence, "bundled": card.bundled, "weights": weights,
    }  # fmt: skip


def methods(arguments: argparse.Namespace) -> None:
    """The catalogue of methods with their knobs."""
    import vitedge_core.techniques  # noqa: F401  fills the registry
    from vitedge_core import registry

    if arguments.json:
        print_json({"methods": [_method(cls) for cls in registry.techniques()]})
        return
    for cls in registry.techniques():
        print(f"{cls.card.key}: {cls.card.title} ({cls.card.family.value}; {cls.card.reference})")
        for knob in cls.knobs():
            allowed = ", ".join(knob.options) or (f"{knob.low:g} to {knob.high:g}" if knob.low is not None else "")
            print(f"    {knob.name} = {knob.default!r}{f'  [{allowed}]' if allowed else ''}  {knob.help}")


def _method(cls: Any) -> dict[str, Any]:
    names = ("name", "default", "label", "help", "low", "high", "step", "options")
    card = cls.card
    return {
        "key": card.key, "title": card.title, "family": card.family.value, "reference": card.reference,
        "arxiv": card.arxiv, "differs": list(card.differs), "measured": card.measured,
        "calibrates": card.calibrates, "trains": card.trains,
        "knobs": [{name: getattr(knob, name) for name in names} for knob in cls.knobs()],
    }  # fmt: skip


def data(arguments: argparse.Namespace) -> None:
    """Build the bundled images now instead of at their first use."""
    from vitedge_core.datasets import wild_digits
    from vitedge_core.datasets.sets import DIGITS, open_images
    from vitedge_core.storage import data_folder

    images = open_images(arguments.images or DIGITS)
    if images.key == DIGITS:
        for split, count in (("test", wild_digits.TEST_IMAGES), ("train", 256)):
            wild_digits.load(split, count)
    about = {
        "images": images.key, "title": images.title, "task": images.task, "digest": images.digest, "n": len(images),
        "classes": len(images.class_names), "skipped": images.skipped, "data_folder": str(data_folder()),
    }  # fmt: skip
    if arguments.json:
        print_json(about)
        return
    print(f"{images.title}: {len(images):,} images of {len(images.class_names):,} classes, {images.skipped:,} skipped.")


def add(verb: Adder) -> None:
    """These verbs and their options."""
    verb(models).add_argument("--search", default="", metavar="TEXT", help="only names that contain it")
    verb(methods)
    verb(data).add_argument("--images", metavar="DIR|digits", help=IMAGES)
