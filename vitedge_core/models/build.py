"""Builds a network by name, for whatever size it is asked to see; weights come later or not at all."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

import vitedge_core.models.bundled.architectures  # noqa: F401  registers the bundled networks with timm
from vitedge_core.errors import VitEdgeError
from vitedge_core.models import own
from vitedge_core.models.zoo import unknown_model

MAX_SIDE = 4096


def build(name: str, image: int | None = None, **arguments: Any) -> nn.Module:
    """A network with random weights (or none, under the meta device).

    Args:
        name: A timm classifier, with or without the tag of its weights, or one of the user's own.
        image: Side of its input in pixels where the network is built for one size; None is its own.
        arguments: What else timm's `create_model` understands.

    Raises:
        VitEdgeError: There is no such classifier, or it cannot be built for that size.
    """
    if own.is_own(name):
        facts = own.facts(name)
        return build(facts["architecture"], image or facts["image"], **facts["arguments"], **arguments)
    if not timm.is_model(name):
        raise unknown_model(name, timm.list_models())
    if image is not None and not 1 <= image <= MAX_SIDE:
        raise VitEdgeError(f"The side of an image must be 1 to {MAX_SIDE} pixels, not {image}.")
    try:
        return _sized(name, image, arguments)
    except (RuntimeError, AssertionError, ValueError, TypeError, ZeroDivisionError) as error:
        what = f" for images of {image}x{image} pixels" if image else ""
        raise VitEdgeError(f"timm cannot build {name}{what}: {first_line(error)}") from error


def _sized(name: str, image: int | None, arguments: dict[str, Any]) -> nn.Module:
    if image is None:
        return timm.create_model(name, **arguments)
    try:
        model = timm.create_model(name, img_size=image, **arguments)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        model = timm.create_model(name, **arguments)  # a network of convolutions sees any size
    channels = input_size(model)[0]
    model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (channels, image, image)}  # type: ignore[dict-item]
    return model


def first_line(error: Exception) -> str:
    """The first line of what an exception says, as a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".") + "."


def input_size(model: nn.Module) -> tuple[int, int, int]:
    """Channels, height and width of the images the network was built for."""
    configured: Any = getattr(model, "pretrained_cfg", None) or {}
    channels, height, width = configured.get("input_size") or (3, 224, 224)
    return channels, height, width


def own_size(model: nn.Module) -> int:
    """Side in pixels of the images its architecture was made for, whatever it was built for now."""
    configured: Any = getattr(model, "default_cfg", None) or {}
    return (configured.get("input_size") or input_size(model))[1]
