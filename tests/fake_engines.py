"""Engines that are made up: right ones, and every way to go wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitedge_core.backends.base import Artefact, Engine, Runner, Source
from vitedge_core.backends.eager import TorchArtefact
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.plan import Plan


class Shifted(nn.Module):
    """Another model's logits with one class raised."""

    def __init__(self, model: nn.Module, raised: float) -> None:
        super().__init__()
        self.model, self.raised = model, raised

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model(images).clone()
        logits[:, 0] += self.raised
        return logits


class Strict(Runner):
    """Takes whole batches only and writes every result into the same memory, as compiled graphs do."""

    def __init__(self, model: nn.Module, threads: int, batch: int) -> None:
        self.model, self.threads, self.batch, self.out = model, threads, batch, torch.zeros(batch, 10)

    def __call__(self, images: Tensor) -> Tensor:
        assert len(images) == self.batch, "a graph of fixed shape"
        with torch.inference_mode():
            self.out.copy_(self.model(images))
        return self.out


class StrictArtefact(Artefact):
    bytes, facts, seconds = 1_000, ("everything is made up",), 0.5

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def open(self, threads: int = 1, batch: int = 1) -> Runner:
        if batch > 4:
            raise VitEdgeError("Made up takes at most 4 images.")
        return Strict(self.model, threads, batch)


@dataclass(frozen=True)
class MadeUp(Engine):
    """`fault` says what goes wrong: "", missing, refuses, fails, memory, infinite, cancelled."""

    key: str = "made-up"
    title: str = "Made up"
    about: str = "For tests."
    fault: str = ""
    raised: float = 0.0
    built: tuple[list[str], ...] = ()

    def missing(self) -> str | None:
        return "Made up is not installed; run: pip install made-up" if self.fault == "missing" else None

    def supports(self, plan: Plan) -> str | None:
        return "Made up cannot run this." if self.fault == "refuses" else None

    def own_step(self, plan: Plan) -> str | None:
        return "rounds by itself" if self.raised else None

    def build(self, source: Source) -> Artefact:
        for log in self.built:
            log.append(self.key)
        if self.fault == "fails":
            raise RuntimeError("no kernel\nfor this")
        if self.fault == "memory":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        if self.fault == "cancelled":
            raise Cancelled
        if self.fault == "infinite":
            return TorchArtefact(Shifted(source.model, float("nan")).eval(), 10)
        return StrictArtefact(Shifted(source.model, self.raised).eval())
