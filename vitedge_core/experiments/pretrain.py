"""Trains the bundled models from a seed and writes weights, log and model card into `assets/weights/`.

Two things make a plain ViT learn from scratch on two cores in about an hour instead of staying at chance: a curriculum
(clean digits first), and token labels (Jiang et al., "All Tokens Matter: Token Labeling for Training Better Vision
Transformers", NeurIPS 2021, arXiv:2104.10858): each patch must say which digit covers it, or that none does. Our
labels come from the exact masks of the composed set instead of a machine annotator. The extra head is thrown away.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor, nn

from vitedge_core.datasets import wild_digits
from vitedge_core.datasets.batch import Batch
from vitedge_core.errors import unknown
from vitedge_core.evidence import Evidence, Quantity, wilson
from vitedge_core.models.bundled import architectures
from vitedge_core.models.trace import trace
from vitedge_core.surgery.train import Loss, Progress, Schedule, fit

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


TRAININGS = {
    "digits_convnet": Training(images=160_000, lr=2e-3),
    "digits_vit_base": Training(images=440_000, lr=1e-3),
    "digits_vit_small": Training(images=400_000, lr=2e-3),
    "digits_swin": Training(images=320_000, lr=1.5e-3),
}


def normalise(images: Tensor) -> Tensor:
    """uint8 [n, 3, H, W] to what the bundled models take."""
    mean = torch.tensor(architectures.MEAN)[:, None, None]
    std = torch.tensor(architectures.STD)[:, None, None]
    return (images.float() / 255 - mean) / std


class _Curriculum:
    """Clean digits first; a little harder after every batch that the network, on average, can already read."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.difficulty = 0.0
        self.accuracy = 0.0

    def batches(self) -> Iterator[Batch]:
        """The whole run's batches, each composed when it is asked for."""
        for step in range(self.training.steps):
            digits = wild_digits.compose(
                "train", step, seed=self.training.seed, difficulty=self.difficulty, count=self.training.batch
            )
            yield Batch(normalise(digits.images), digits.labels, digits.masks)

    def mark(self, logits: Tensor, labels: Tensor) -> None:
        """Take note of how a batch went."""
        right = float((logits.argmax(1) == labels).float().mean())
        self.accuracy += 0.05 * (right - self.accuracy)
        if self.accuracy > self.training.pass_mark:
            self.difficulty = min(1.0, self.difficulty + self.training.step_up)


@torch.no_grad()
def _mimetic(network: nn.Module, strength: float = 0.7) -> None:
    """Start a plain ViT's attention near what trained ones look like: heads that attend to their own surroundings.

    Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers", ICML 2023 (arXiv:2305.09828):
    W_q' W_k close to a multiple of the identity, W_v and W_proj such that their product is close to minus one,
    on sine-cosine position embeddings.
    """
    if not hasattr(network, "pos_embed") or not isinstance(getattr(network, "blocks", None), nn.Sequential):
        return
    grid = network.patch_embed.grid_size
    width = network.embed_dim
    position = build_sincos2d_pos_embed(list(grid), dim=width)
    network.pos_embed.zero_()
    network.pos_embed[0, network.num_prefix_tokens :] = position.reshape(-1, width)
    for block in network.blocks:
        attention = block.attn
        per_head = width // attention.num_heads
        noise = torch.randn(width, width) / width**0.5
        u, s, v = torch.linalg.svd(0.4 * noise - 0.4 * torch.eye(width))
        attention.proj.weight.copy_(u * s.sqrt())
        attention.qkv.weight[2 * width :] = (v.T * s.sqrt()).T
        for head in range(attention.num_heads):
            noise = torch.randn(width, width) / width**0.5
            u, s, v = torch.linalg.svd(strength * torch.eye(width) + strength * noise)
            rows = slice(head * per_head, (head + 1) * per_head)
            root = s[:per_head].sqrt()
            attention.qkv.weight[:width][rows] = (u[:, :per_head] * root).T
            attention.qkv.weight[width : 2 * width][rows] = (v[:per_head].T * root).T


class _TokenLabelled(nn.Module):
    """A network and a throw-away head that labels every patch."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.patches = nn.Linear(network.num_features, BACKGROUND + 1)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [B, 10] and patch logits [B, h, w, 11]."""
        features = self.network.forward_features(images)  # type: ignore[operator]
        logits = self.network.forward_head(features)  # type: ignore[operator]
        if features.ndim == 3:  # tokens with a prefix: fold to a square grid
            tokens = features[:, self.network.num_prefix_tokens :]
            side = int(tokens.shape[1] ** 0.5)
            grid = tokens.unflatten(1, (side, side))
        elif features.shape[-1] == self.network.num_features:  # [B, h, w, C]
            grid = features
        else:
            grid = features.movedim(1, -1)
        return logits, self.patches(grid)


def _loss(weight: float, curriculum: _Curriculum) -> Loss:
    def loss(model: nn.Module, batch: Batch) -> Tensor:
        logits, patches = model(batch.images)
        curriculum.mark(logits, batch.labels)
        assert batch.masks is not None
        cover = F.adaptive_avg_pool2d(batch.masks.float()[:, None], patches.shape[1:3])[:, 0]
        targets = torch.where(cover > COVERED, batch.labels[:, None, None], BACKGROUND)
        balance = torch.ones(BACKGROUND + 1)
        balance[BACKGROUND] = 0.2  # four patches of five are background
        dense = F.cross_entropy(patches.flatten(0, 2), targets.flatten(), weight=balance)
        return F.cross_entropy(logits, batch.labels) + weight * dense

    return loss


@torch.inference_mode()
def _top1(network: nn.Module, digits: wild_digits.Digits) -> float:
    training = network.training
    network.eval()
    right = sum(
        int((network(normalise(images)).argmax(1) == labels).sum())
        for images, labels in zip(digits.images.split(250), digits.labels.split(250), strict=True)
    )
    network.train(training)
    return right / len(digits)


def train(name: str, folder: Path, training: Training | None = None, log=lambda line: None) -> Path:
    """Train one bundled model; write `<name>.safetensors` and `<name>.log.jsonl` into `folder`.

    Args:
        name: A key of `TRAININGS`.
        folder: Where the files go.
        training: Overrides the model's own settings (tests use a very short one).
        log: Called with each line of the log.

    Returns:
        The path of the weights.
    """
    if name not in TRAININGS:
        raise unknown("bundled model", name, TRAININGS)
    training = training or TRAININGS[name]
    torch.manual_seed(training.seed)
    model = _TokenLabelled(timm.create_model(name))
    _mimetic(model.network)
    curriculum = _Curriculum(training)
    # held out for the log: handwriting and photographs of the training split, other compositions
    held_out = [wild_digits.compose("train", block, seed=training.seed + 1, difficulty=1.0) for block in range(2)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    with open(folder / f"{name}.log.jsonl", "w", encoding="utf-8") as file:

        def write(entry: dict[str, object]) -> None:
            line = json.dumps(entry)
            file.write(line + "\n")
            file.flush()
            log(line)

        def report(progress: Progress) -> None:
            top1 = sum(_top1(model.network, part) for part in held_out) / len(held_out)
            write(
                {
                    **{k: round(v, 4) for k, v in asdict(progress).items()},
                    "difficulty": round(curriculum.difficulty, 3),
                    "held_out_top1": round(top1, 4),
                }
            )
            save_file({k: v.contiguous() for k, v in model.network.state_dict().items()}, folder / f"{name}.part")

        write({"model": name, **asdict(training), "started": time.strftime("%Y-%m-%d"), "torch": torch.__version__})
        schedule = Schedule(training.steps, training.lr, warmup=0.05, average=0.998)
        fit(
            model,
            curriculum.batches(),
            _loss(training.token_weight, curriculum),
            schedule,
            report=report,
            report_every=200,
        )
    save_file({k: v.contiguous() for k, v in model.network.state_dict().items()}, path)
    (folder / f"{name}.part").unlink(missing_ok=True)
    write_card(name, model.network.eval(), folder, training)
    return path


def write_card(name: str, network: nn.Module, folder: Path, training: Training) -> Path:
    """Measure a trained bundled model on the test split and write its model card, `<name>.json`.

    Args:
        name: The model's name.
        network: The trained network.
        folder: Where the card goes.
        training: How it was trained.

    Returns:
        The path of the card.
    """
    digits = wild_digits.load("test")
    top1 = _top1(network, digits)
    low, high = wilson(round(top1 * len(digits)), len(digits))
    accuracy = Quantity(
        top1, "share", Evidence.MEASURED, f"{len(digits):,} test images of digits in the wild", low, high
    )
    plan = trace(name)
    card = {
        "name": name,
        "title": network.__class__.__name__,
        "data": {
            "set": "digits in the wild",
            "version": wild_digits.VERSION,
            "measured_at_difficulty": wild_digits.DIFFICULTY,
            "test_images": len(digits),
            "origin": "scikit-learn: load_digits (UCI, CC BY 4.0), load_sample_images (CC BY)",
        },
        "training": {
            **asdict(training), "optimiser": "AdamW, cosine decay, averaged weights",
            "curriculum": "clean digits first, harder after every batch it could mostly read, up to difficulty 1",
            "extra_loss": "token labels from the exact masks (Jiang et al. 2021); the head for them is thrown away",
        },
        "top1": accuracy.to_dict(),
        "params": plan.params,
        "macs": plan.macs,
        "date": time.strftime("%Y-%m-%d"),
        "revision": _revision(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "licence": "trained by this repository on data free to use",
    }  # fmt: skip
    path = folder / f"{name}.json"
    path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return path


def _revision() -> str:
    """The git revision of this checkout; "unknown" outside one."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    command = [git, "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return answer.stdout.strip() or "unknown"


def shorter(training: Training, images: int) -> Training:
    """The same training on fewer images."""
    return replace(training, images=images)
