"""Trains the bundled models from a seed and writes weights, log and model card into `assets/weights/`.

`experiments.from_scratch` says how they learn.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import asdict, replace
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from vitedge_core.datasets import wild_digits
from vitedge_core.datasets.batch import Batch
from vitedge_core.errors import unknown
from vitedge_core.evidence import Evidence, Quantity, wilson
from vitedge_core.experiments.from_scratch import Curriculum, TokenLabelled, Training, mimetic, normalise, token_loss
from vitedge_core.models.trace import trace
from vitedge_core.surgery.train import Loss, Progress, Schedule, fit

TRAININGS = {
    "digits_convnet": Training(images=224_000, lr=2e-3),
    "digits_vit_base": Training(images=440_000, lr=1e-3),
    "digits_vit_small": Training(images=256_000, lr=2e-3),
    "digits_swin": Training(images=320_000, lr=1.5e-3),
}


def _loss(weight: float, curriculum: Curriculum) -> Loss:
    def loss(model: nn.Module, batch: Batch) -> Tensor:
        logits, patches = model(batch.images)
        curriculum.mark(logits, batch.labels)
        return F.cross_entropy(logits, batch.labels) + weight * token_loss(patches, batch)

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
    model = TokenLabelled(timm.create_model(name))
    mimetic(model.network)
    curriculum = Curriculum(training)
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
