"""A tiny model of the user's own, untrained but with weights, as tests of whole recipes need one by name."""

from __future__ import annotations

import json

import timm
import torch
from safetensors.torch import save_file

import vitedge_core.models.bundled.architectures  # noqa: F401  registers the bundled networks
from vitedge_core.models.trace import trace_model
from vitedge_core.storage import data_folder

SIZES = {"embed_dim": 48, "depth": 3, "num_heads": 3}


def keep(slug: str = "tiny", seed: int = 0) -> str:
    """Store a ViT of three blocks of width 48 for the digits; returns its name."""
    folder = data_folder("models", slug)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = timm.create_model("digits_vit_small", **SIZES).eval()
        for parameter in model.parameters():  # larger than a fresh start, so that what is removed is missed
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    plan = trace_model(model)
    save_file(model.state_dict(), folder / "model.safetensors")
    facts = {
        "architecture": "digits_vit_small", "arguments": SIZES, "title": slug, "task": "digits", "params": plan.params,
        "macs": plan.macs, "image": 48, "top1": None,
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(facts), encoding="utf-8")
    return f"mine/{slug}"
