"""Which modules of a timm network are its transformer blocks, and what each operation in it is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vitedge_core.plan import Kind

_QUERY_KEY_VALUE = {
    "qkv", "q", "k", "v", "kv", "qk", "q_proj", "k_proj", "v_proj", "qkvs", "query", "key", "value", "qkv_proj",
    "in_proj", "to_query", "to_key", "wq", "wk", "wv",
}  # fmt: skip
_MLP = {"mlp", "ffn", "ffn0", "ffn1", "mlp_out_proj"}
_SECOND_HALF = {"norm2", "mlp", "ls2", "drop_path2"}
_STEMS = {"patch_embed", "stem", "conv_stem"}
_PER_HEAD = {"relative_position_bias_table"}  # an attention's own parameters that have a column for each head


@dataclass(frozen=True, slots=True)
class Site:
    """A block methods can edit: its module path, stage, and what its attention sees ("global" or "window")."""

    path: str
    stage: int
    attention: str
    module: Any


def sites(model: nn.Module) -> list[Site]:
    """The editable blocks of a plain or a windowed transformer, in order; none for any other network."""
    if isinstance(model, VisionTransformer):
        found = [Site(f"blocks.{i}", 0, "global", block) for i, block in enumerate(model.blocks)]
    elif isinstance(model, SwinTransformer):
        found = [
            Site(f"layers.{s}.blocks.{i}", s, "window", block)
            for s, stage in enumerate(model.layers)
            for i, block in enumerate(stage.blocks)  # type: ignore[arg-type]
        ]
    else:
        return []
    return found if all(_has_whole_heads(getattr(site.module, "attn", None)) for site in found) else []


def _has_whole_heads(attention: Any) -> bool:
    """Whether single heads can be cut out: nothing but `qkv`, `proj` and a table of their own ties them together."""
    qkv, proj = getattr(attention, "qkv", None), getattr(attention, "proj", None)
    if qkv is None or any(name not in _PER_HEAD for name, _ in attention.named_parameters(recurse=False)):
        return False
    free = all(_absent(getattr(attention, name, None)) for name in ("norm", "gate"))
    return free and getattr(qkv, "out_features", -1) == 3 * getattr(proj, "in_features", 0)


def _absent(module: object) -> bool:
    return module is None or isinstance(module, nn.Identity)


def hidden_width(site: Site) -> int:
    """M, the neurons of the block's MLP; 0 where it is gated and its two layers do not match one to one."""
    mlp = getattr(site.module, "mlp", None)
    width = getattr(getattr(mlp, "fc2", None), "in_features", 0)
    plain = getattr(getattr(mlp, "fc1", None), "out_features", -1) == width and _absent(getattr(mlp, "norm", None))
    return width if plain else 0


def in_second_half(path: str, block: str) -> bool:
    """Whether the path is a module of the block's MLP half."""
    return path.removeprefix(block + ".").partition(".")[0] in _SECOND_HALF


def classifiers(model: Any) -> set[str]:
    """Paths of the layers that name the classes."""
    found = model.get_classifier() if hasattr(model, "get_classifier") else None
    heads = found if isinstance(found, tuple | list) else (found,)
    inside = {id(module) for head in heads if isinstance(head, nn.Module) for module in head.modules()}
    return {name for name, module in model.named_modules() if id(module) in inside}


def product_kind(path: str, *, convolution: bool, attentions: set[str], heads: set[str]) -> Kind:
    """What a product with a weight is for, from the name of its module and from what stands around it."""
    *parents, name = path.split(".")
    if path in heads:
        return Kind.HEAD
    if _STEMS & {path.partition(".")[0], name}:
        return Kind.PATCH_EMBED
    if _MLP & {name, *parents} or (name in {"fc1", "fc2"} and "se" not in parents):
        return Kind.MLP
    if "attn" in parents or any(path == attention or path.startswith(f"{attention}.") for attention in attentions):
        return Kind.QKV if _QUERY_KEY_VALUE & {name, *parents[-1:]} else Kind.PROJECTION
    return Kind.CONVOLUTION if convolution else Kind.LINEAR
