"""Which models there are: the bundled ones, the user's own, a curated zoo with published facts, and any of timm's.

Listing them needs no framework, so that the first page stands early. Facts of the zoo are from `published/zoo.csv`:
names, licences and input sizes as timm 1.0.31 states them, top-1 from timm's own table of results, parameters and
multiply-accumulates counted by `models.trace`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.models import own

_TABLE = Path(__file__).parents[1] / "published" / "zoo.csv"
WEIGHTS = Path(__file__).parents[2] / "assets" / "weights"
BUNDLED = {
    "digits_vit_base": "Digits ViT base",
    "digits_vit_small": "Digits ViT small",
    "digits_swin": "Digits Swin",
    "digits_convnet": "Digits ConvNet",
}
DIGITS, IMAGENET = "digits", "imagenet"
_SPELT = {
    "vit": "ViT", "deit": "DeiT", "deit3": "DeiT III", "swin": "Swin", "swinv2": "Swin V2", "pvt": "PVT", "v2": "V2",
    "mobilevit": "MobileViT", "mobilevitv2": "MobileViT V2", "efficientvit": "EfficientViT", "levit": "LeViT",
    "efficientformer": "EfficientFormer", "efficientformerv2": "EfficientFormer V2", "fastvit": "FastViT",
    "flexivit": "FlexiViT", "edgenext": "EdgeNeXt", "repvit": "RepViT", "mobilenetv4": "MobileNet V4",
    "shvit": "SHViT", "swiftformer": "SwiftFormer", "efficientvim": "EfficientViM", "eva02": "EVA-02", "xcit": "XCiT",
    "cait": "CaiT", "convit": "ConViT", "gcvit": "GCViT", "hiera": "Hiera", "nextvit": "Next-ViT", "coat": "CoaT",
    "crossvit": "CrossViT", "poolformer": "PoolFormer", "regnety": "RegNetY", "resnet50": "ResNet-50",
    "convnext": "ConvNeXt", "twins": "Twins", "dinov2": "DINOv2", "dinov3": "DINOv3", "clip": "CLIP", "tiny": "Tiny",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What one reads of a model before choosing it.

    params, macs: exact, at `image` pixels a side. task: which classes the weights know ("digits", "imagenet", "" when
    unknown). top1: share of right answers, with its evidence. bundled: trained by this repository.
    """

    name: str
    title: str
    family: str
    task: str
    params: int
    macs: int
    image: int
    top1: Quantity | None
    licence: str
    bundled: bool = False


def cards() -> tuple[ModelCard, ...]:
    """The bundled models, the user's own, and the zoo, in this order."""
    return (*map(_bundled, BUNDLED), *_all_own(), *_zoo().values())


def card(name: str) -> ModelCard:
    """The card of a model; any timm classifier has one.

    Raises:
        VitEdgeError: Nobody knows the name; the sentence has the nearest that exist.
    """
    if name in BUNDLED:
        return _bundled(name)
    if own.is_own(name):
        return _own(name)
    return _zoo().get(name) or _any(name)


def called(name: str) -> str:
    """What people call a model: its title in the catalogue; its name where the catalogue lacks it."""
    if own.is_own(name):
        try:
            return own.called(name)
        except VitEdgeError:  # its folder is gone or damaged, what was measured of it is not
            return name
    known = _zoo().get(name)
    return BUNDLED.get(name) or (known.title if known else name)


@cache
def _bundled(name: str) -> ModelCard:
    path = WEIGHTS / f"{name}.json"
    if path.is_file():
        facts = json.loads(path.read_text(encoding="utf-8"))
        top1, params, macs, licence = _quantity(facts["top1"]), facts["params"], facts["macs"], facts["licence"]
    else:
        top1, (params, macs), licence = None, _counted(name), ""
    family = name.removeprefix("digits_").partition("_")[0]
    return ModelCard(name, BUNDLED[name], family, DIGITS, params, macs, 48, top1, licence, bundled=True)


def _own(name: str) -> ModelCard:
    facts = own.facts(name)
    return ModelCard(
        name, facts["title"], facts["architecture"], facts["task"], facts["params"], facts["macs"], facts["image"],
        _quantity(facts["top1"]), "your own",
    )  # fmt: skip


def _all_own() -> Iterator[ModelCard]:
    """The user's own; one whose card is damaged is left out, so that the others can still be chosen."""
    for name in own.names():
        with suppress(VitEdgeError):
            yield _own(name)


@cache
def _zoo() -> dict[str, ModelCard]:
    with open(_TABLE, encoding="utf-8", newline="") as file:
        return {row["name"]: _published(row) for row in csv.DictReader(file)}


def _published(row: dict[str, str]) -> ModelCard:
    percent = row["top1_percent"]
    top1 = Quantity(float(percent) / 100, "share", Evidence.PUBLISHED, row["source"]) if percent else None
    task = IMAGENET if row["classes"] == "1000" else ""
    return ModelCard(
        row["name"], title(row["name"]), row["family"], task, int(row["params"]), int(row["macs"]), int(row["image"]),
        top1, row["licence"],
    )  # fmt: skip


@cache
def _any(name: str) -> ModelCard:
    """A timm classifier outside the zoo, or one of the zoo without the tag of its weights."""
    import timm

    if not timm.is_model(name):
        raise unknown_model(name, timm.list_models())
    configured: Any = timm.get_pretrained_cfg(name)
    tag = getattr(configured, "tag", "")
    known = _zoo().get(f"{name}.{tag}")
    if known is not None:
        return replace(known, name=name)
    from vitedge_core.models.trace import trace

    plan = trace(name)
    task = IMAGENET if plan.classes == 1000 and tag else ""
    licence = getattr(configured, "license", None) or ""
    return ModelCard(
        name, title(name), name.partition("_")[0], task, plan.params, plan.macs, plan.image[1], None, licence
    )


def unknown_model(name: str, others: Iterable[str]) -> VitEdgeError:
    """The error for a model nobody knows. A name that begins like an existing one counts as near to it."""
    known = [*BUNDLED, *own.names(), *_zoo(), *others]
    shown = name if len(name) <= 60 else name[:57] + "..."
    matcher = SequenceMatcher(b=shown)
    nearness: dict[str, float] = {}
    for candidate in known:
        matcher.set_seq1(candidate[: len(shown)])
        nearness[candidate] = matcher.ratio()
    near = sorted(nearness, key=lambda candidate: (-nearness[candidate], len(candidate)))[:3]
    return VitEdgeError(f"There is no model {shown!r}; did you mean {' or '.join(map(repr, near))}?")


def title(name: str) -> str:
    """A timm name as a heading: "deit_tiny_patch16_224.fb_in1k" is "DeiT Tiny patch16 224"."""
    words = name.partition(".")[0].split("_")
    return " ".join(_SPELT.get(word, word) for word in words)


def _counted(name: str) -> tuple[int, int]:
    from vitedge_core.models.trace import trace

    plan = trace(name)
    return plan.params, plan.macs


def _quantity(plain: dict[str, Any] | None) -> Quantity | None:
    return Quantity(**{**plain, "evidence": Evidence(plain["evidence"])}) if plain else None
