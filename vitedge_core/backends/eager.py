"""PyTorch as it is, operation by operation in float32: the baseline of every comparison."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitedge_core.backends.base import Artefact, Engine, Runner, Source
from vitedge_core.plan import Plan


class TorchRunner(Runner):
    """Calls something of PyTorch without gradients."""

    def __init__(self, module: nn.Module, threads: int, batch: int) -> None:
        self._module, self.threads, self.batch = module, threads, batch

    def __call__(self, images: Tensor) -> Tensor:
        """[B, 3, height, width] -> [B, K]."""
        with torch.inference_mode():
            return self._module(images)


class TorchArtefact(Artefact):
    """A module that PyTorch runs; any batch will do."""

    def __init__(self, module: nn.Module, size: int, facts: tuple[str, ...] = (), seconds: float = 0.0) -> None:
        self._module, self.bytes, self.facts, self.seconds = module, size, facts, seconds

    def open(self, threads: int = 1, batch: int = 1) -> TorchRunner:
        """Ready at once."""
        return TorchRunner(self._module, threads, batch)


@dataclass(frozen=True)
class Eager(Engine):
    """float32, unfused. What a recipe rounds is rounded in float, so a quantised model is slower here, not faster."""

    key: str = "eager"
    title: str = "PyTorch, eager"
    about: str = "Operation by operation in float32, as the model was trained; nothing to build. The baseline."

    def supports(self, plan: Plan) -> str | None:
        """Everything."""
        return None

    def build(self, source: Source) -> Artefact:
        """The model itself."""
        size = sum(t.numel() * t.element_size() for t in source.model.state_dict().values())
        simulated = ("few bits are simulated in float32, which takes longer",) if source.plan.quantised else ()
        return TorchArtefact(source.model.eval(), size, simulated)


ENGINES = (Eager(),)
