"""The blocks of a real model, as methods edit them, in the order of its plan.

What we rely on in timm: a block holds `attn.qkv` and `attn.proj`, mostly `mlp.fc1` and `mlp.fc2`. Rows of `qkv` are
ordered (query, key, value) x head x width of a head, columns of `proj` head x width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from vitedge_core.models.anatomy import hidden_width, sites


@dataclass(frozen=True, slots=True)
class BlockHandle:
    """A transformer block of a real model.

    path: where it stands. attention: "global", "window", or "other" for one whose heads cannot be cut apart. mlp: None
    when its neurons cannot be.
    """

    path: str
    attention: str
    block: nn.Module
    attn: Any
    mlp: Any

    @property
    def editable(self) -> bool:
        """Whether heads and neurons can be removed exactly."""
        return self.attention != "other"

    @property
    def heads(self) -> int:
        """H."""
        return self.attn.num_heads

    @property
    def head_width(self) -> int:
        """d, of keys and of values."""
        return self.attn.proj.in_features // self.heads

    @property
    def hidden(self) -> int:
        """M; 0 where the neurons of the MLP cannot be cut apart."""
        return self.mlp.fc2.in_features if self.mlp is not None else 0


def blocks(model: nn.Module) -> list[BlockHandle]:
    """One handle for each block of the model's plan, in the same order."""
    return [
        BlockHandle(
            site.path, site.attention, site.module, site.module.attn, site.module.mlp if hidden_width(site) else None
        )
        for site in sites(model)
    ]


def editable_blocks(model: nn.Module) -> list[BlockHandle]:
    """Those whose heads and neurons can be removed exactly."""
    return [handle for handle in blocks(model) if handle.editable]


def parent_of(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    """The module that holds the one at `path`, and the name under which it holds it."""
    parent, _, name = path.rpartition(".")
    return model.get_submodule(parent), name
