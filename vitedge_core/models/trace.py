"""From a timm classifier to its plan: every operation with its shape, found by running the network without numbers.

The network runs once on PyTorch's meta device, which computes shapes only: no weights are loaded and nothing is
multiplied. Parameters are those of the modules, multiply-accumulates those of the matrix products and convolutions
that really ran, and memory is what was really alive.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.models.anatomy import Site, classifiers, hidden_width, in_second_half, product_kind, sites
from vitedge_core.models.build import build, input_size, own_size
from vitedge_core.models.holdings import share_out
from vitedge_core.models.recorder import Event, record
from vitedge_core.plan import Block, Half, Kind, Op, Plan

Image = tuple[int, int, int]


@lru_cache(maxsize=256)
def trace(name: str, image: int | None = None) -> Plan:
    """The plan of a model by its name, without weights.

    Args:
        name: A bundled model, one of the user's own, or any timm classifier.
        image: Side of the square input in pixels; None is the model's own.

    Raises:
        VitEdgeError: Nobody knows the name, or the model cannot take images of that size.
    """
    with torch.device("meta"):
        model = build(name, image)
    channels, height, width = input_size(model)
    return _plan(model.eval(), name, (channels, image or height, image or width))


def trace_model(model: nn.Module, name: str = "", image: Image | None = None) -> Plan:
    """The plan of a classifier, which is only looked at.

    Args:
        model: Any timm classifier, on any device.
        name: What the plan calls it.
        image: Channels, height and width of its input; None is the model's own.

    Raises:
        VitEdgeError: It cannot take images of this size.
    """
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach().to("meta"), requires_grad=False) for p in model.parameters()}
    memo |= {id(b): b.detach().to("meta") for b in model.buffers()}
    return _plan(copy.deepcopy(model, memo).eval(), name, image or input_size(model))


def _plan(model: nn.Module, name: str, image: Image) -> Plan:
    try:
        events = record(model, torch.empty(1, *image, device="meta"))
        _settle_shared(model, events, image)
    except Exception as error:  # a network may say anything about a size it cannot take
        side = own_size(model)
        raise VitEdgeError(
            f"{name or 'This model'} cannot take images of {image[1]}x{image[2]} pixels; its own size is {side}x{side}."
        ) from error
    found = sites(model)
    ops = _operations(model, events, found)
    blocks = tuple(_block(site, index, ops, model) for index, site in enumerate(found))
    return Plan(name, image, int(getattr(model, "num_classes", 0)), blocks, tuple(ops))


def _settle_shared(model: nn.Module, events: list[Event], image: Image) -> None:
    """Products that a batch needs once: no image has a part in them, and they are the same for two images; in place.

    A table may still be spread over the batch before it is multiplied, so those few are counted with two images, too.
    """
    once = [event for event in events if event.macs]
    if any(event.shared for event in once):
        twice = [event for event in record(model, torch.empty(2, *image, device="meta")) if event.macs]
        same = len(once) == len(twice)
        for event, again in zip(once, twice, strict=False):
            event.shared = same and event.shared and event.macs == again.macs
    for event in events:
        event.shared = event.shared and event.macs > 0


def _operations(model: nn.Module, events: list[Event], found: list[Site]) -> list[Op]:
    """The events as operations, each with its kind, its block and half, and its parameters."""
    attentions = {event.path for event in events if event.is_activation_product}
    heads = classifiers(model)
    places = _Places(found)
    ops = []
    for event, role in zip(events, _roles(events), strict=True):
        block, half = places.of(event.path)
        ops.append(Op(
            ".".join(filter(None, (event.path, role))) or event.operator,
            _kind(event, attentions, heads), event.rows, event.inputs, event.outputs,
            reads=event.reads, writes=event.writes, held=max(0, event.alive - event.reads - event.writes),
            constants=4 * event.kept, scratch=event.workspace.alone, batch_scratch=event.workspace.each,
            repacked=event.workspace.once, shared=event.shared, block=block, half=half,
        ))  # fmt: skip
    return share_out(model, events, ops, _Places(found).of)


def _kind(event: Event, attentions: set[str], heads: set[str]) -> Kind:
    if event.is_activation_product or "softmax" in event.operator:
        return Kind.ATTENTION
    if event.macs:
        place = event.parameter.rpartition(".")[0] or event.path  # a layer's weight may be used by what stands above it
        return product_kind(place, convolution=event.is_convolution, attentions=attentions, heads=heads)
    return Kind.NORM if "norm" in event.operator else Kind.ELEMENTWISE


def _roles(events: list[Event]) -> list[str]:
    """Names for products of activations: "scores" before a softmax and "mix" after it, else they are numbered."""
    calls: dict[str, list[int]] = defaultdict(list)
    softmax: dict[str, list[int]] = defaultdict(list)
    for index, event in enumerate(events):
        if event.is_activation_product:
            calls[event.path].append(index)
        elif "softmax" in event.operator:
            softmax[event.path].append(index)
            softmax[event.path.rpartition(".")[0]].append(index)
    roles = [event.role for event in events]
    for path, indices in calls.items():
        pairs = list(zip(indices[::2], indices[1::2], strict=False))
        soft = len(indices) % 2 == 0 and all(any(a < s < b for s in softmax[path]) for a, b in pairs)
        for number, index in enumerate(indices):
            roles[index] = roles[index] or (("scores", "mix")[number % 2] if soft else f"product{number}")
    return roles


class _Places:
    """Block and half of a path. A block's own operations belong to the first half until its second has begun."""

    def __init__(self, found: list[Site]) -> None:
        self._found = found
        self._begun: set[int] = set()

    def of(self, path: str) -> tuple[int, Half]:
        for index, site in enumerate(self._found):
            if path == site.path or path.startswith(f"{site.path}."):
                if in_second_half(path, site.path):
                    self._begun.add(index)
                return index, Half.MLP if index in self._begun else Half.ATTENTION
        return -1, Half.NONE


def _block(site: Site, index: int, ops: list[Op], model: Any) -> Block:
    mine = {op.path.removeprefix(f"{site.path}."): op for op in ops if op.block == index and op.macs}
    tokens, scores = mine["attn.qkv"].rows, mine["attn.scores"]
    heads = site.module.attn.num_heads
    return Block(
        site.path, site.stage, site.attention, tokens=tokens,
        mlp_tokens=mine["mlp.fc1"].rows if "mlp.fc1" in mine else tokens,
        width=mine["attn.qkv"].inputs, heads=heads, head_width=scores.inputs, hidden=hidden_width(site),
        groups=scores.rows // (heads * scores.outputs), prefix=getattr(model, "num_prefix_tokens", 0),
    )  # fmt: skip
