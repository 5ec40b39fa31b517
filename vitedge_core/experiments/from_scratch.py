"""What it takes for a plain ViT to learn from nothing in about an hour on two cores, instead of staying at chance.

A curriculum (clean digits first); token labels (Jiang et al., "All Tokens Matter: Token Labeling for Training Better
Vision Transformers", NeurIPS 2021, arXiv:2104.10858): each patch must say which digit covers it, or that none does. Our
labels come from the exact masks of the composed set instead of a machine annotator, and the extra head is thrown
away; and an attention that starts where trained ones end up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.swin_transformer import SwinTransformer, WindowAttention
from torch import Tensor, nn

from vitedge_core.datasets import wild_digits
from vitedge_core.datasets.batch import Batch
from vitedge_core.models.bundled import architectures

BACKGROUND = len(wild_digits.CLASSES)
COVERED = 0.2  # share of a patch that must be ink before its label is the digit


@dataclass(frozen=True, slots=True)
class Training:
    """How one bundled model is trained."""

    images: int
    lr: float
    batch: int = 64
    pass_mark: float = 0.6  # running accuracy above which the digits become harder
    step_up: float = 0.002  # how much harder after each such batch
    token_weight: float = 0.5
    teacher: str | None = None
    seed: int = 7

    @property
    def steps(self) -> int:
        """Optimiser steps in the whole run."""
        return self.images // self.batch


def normalise(images: Tensor) -> Tensor:
    """uint8 [n, 3, H, W] to what the bundled models take."""
    mean = torch.tensor(architectures.MEAN)[:, None, None]
    std = torch.tensor(architectures.STD)[:, None, None]
    return (images.float() / 255 - mean) / std


class Curriculum:
    """Clean digits first; a little harder after every batch that the network, on average, can already read."""

    def __init__(self, training: Training, prepare: Callable[[Tensor], Tensor] = normalise) -> None:
        self.training = training
        self.prepare = prepare
        self.difficulty = 0.0
        self.accuracy = 0.0

    def batches(self) -> Iterator[Batch]:
        """The whole run's batches, each composed when it is asked for."""
        for step in range(self.training.steps):
            digits = wild_digits.compose(
                "train", step, seed=self.training.seed, difficulty=self.difficulty, count=self.training.batch
            )
            yield Batch(self.prepare(digits.images), digits.labels, digits.masks)

    def mark(self, logits: Tensor, labels: Tensor) -> None:
        """Take note of how a batch went."""
        right = float((logits.argmax(1) == labels).float().mean())
        self.accuracy += 0.05 * (right - self.accuracy)
        if self.accuracy > self.training.pass_mark:
            self.difficulty = min(1.0, self.difficulty + self.training.step_up)


@torch.no_grad()
def mimetic(network: Any, strength: float = 0.7) -> None:
    """Start a transformer's attention near what trained ones look like; other networks stay as they are.

    Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers", ICML 2023 (arXiv:2305.09828): W_v and
    W_proj such that their product is close to minus one. In a plain ViT W_q' W_k is close to a multiple of the
    identity, on sine-cosine position embeddings, so that heads attend to their own surroundings; in windows the table
    of relative positions says so instead (`_neighbours`).
    """
    if isinstance(network, SwinTransformer):
        for attention in (module for module in network.modules() if isinstance(module, WindowAttention)):
            _mixing(attention)
            _neighbours(attention)
    elif hasattr(network, "pos_embed") and isinstance(getattr(network, "blocks", None), nn.Sequential):
        width = network.embed_dim
        position = build_sincos2d_pos_embed(list(network.patch_embed.grid_size), dim=width)
        network.pos_embed.zero_()
        network.pos_embed[0, network.num_prefix_tokens :] = position.reshape(-1, width)
        for block in network.blocks:
            _mixing(block.attn)
            _alike(block.attn, strength)


def _mixing(attention: Any) -> None:
    """W_v and W_proj from the halves of 0.4 (noise - I)."""
    width = attention.proj.in_features
    noise = torch.randn(width, width) / width**0.5
    u, s, v = torch.linalg.svd(0.4 * noise - 0.4 * torch.eye(width))
    attention.proj.weight.copy_(u * s.sqrt())
    attention.qkv.weight[2 * width :] = (v.T * s.sqrt()).T


def _alike(attention: Any, strength: float) -> None:
    """W_q and W_k of every head from the largest directions of `strength` (I + noise)."""
    width, per_head = attention.proj.in_features, attention.proj.in_features // attention.num_heads
    for head in range(attention.num_heads):
        noise = torch.randn(width, width) / width**0.5
        u, s, v = torch.linalg.svd(strength * torch.eye(width) + strength * noise)
        rows = slice(head * per_head, (head + 1) * per_head)
        root = s[:per_head].sqrt()
        attention.qkv.weight[:width][rows] = (u[:, :per_head] * root).T
        attention.qkv.weight[width : 2 * width][rows] = (v[:per_head].T * root).T


def _neighbours(attention: Any, strength: float = 1.0) -> None:
    """Biases of scores that let every head look at a neighbour of its own, as the taps of a convolution do.

    d'Ascoli et al., "ConViT: Improving Vision Transformers with Soft Convolutional Inductive Biases", ICML 2021
    (arXiv:2103.10697), eq. 5: minus `strength` times the squared distance to the head's own offset.
    """
    rows, columns = attention.window_size
    steps = torch.cartesian_prod(torch.arange(1 - rows, rows), torch.arange(1 - columns, columns)).float()
    angles = 2 * math.pi * torch.arange(attention.num_heads) / attention.num_heads
    offsets = torch.stack([angles.sin(), angles.cos()], 1)
    attention.relative_position_bias_table.copy_(-strength * torch.cdist(steps, offsets).square())


class TokenLabelled(nn.Module):
    """A network and a throw-away head that labels every patch."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.patches = nn.Linear(network.num_features, BACKGROUND + 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [B, 10] and patch logits [B, h, w, 11]."""
        features = self.network.forward_features(images)
        logits = self.network.forward_head(features)
        if features.ndim == 3:  # tokens with a prefix: fold to a square grid
            tokens = features[:, self.network.num_prefix_tokens :]
            side = int(tokens.shape[1] ** 0.5)
            grid = tokens.unflatten(1, (side, side))
        elif features.shape[-1] == self.network.num_features:  # [B, h, w, C]
            grid = features
        else:
            grid = features.movedim(1, -1)
        return logits, self.patches(grid)


def token_loss(patches: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of the patch logits [B, h, w, 11] against the digit that covers each patch, or the background."""
    assert batch.masks is not None
    cover = F.adaptive_avg_pool2d(batch.masks.float()[:, None], (patches.shape[1], patches.shape[2]))[:, 0]
    targets = torch.where(cover > COVERED, batch.labels[:, None, None], BACKGROUND)
    balance = torch.ones(BACKGROUND + 1)
    balance[BACKGROUND] = 0.2  # four patches of five are background
    return F.cross_entropy(patches.flatten(0, 2), targets.flatten(), weight=balance)
