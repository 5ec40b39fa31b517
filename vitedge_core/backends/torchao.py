"""torchao, compiled: linear layers in int8 with scales found while it runs, or with int8 weights only.

Or et al., "TorchAO: PyTorch-Native Training-to-Serving Model Optimization", 2025, arXiv 2507.16099. In eager mode its
layers are slower than float on small models, so it is compiled like `compiled`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from torch import nn

from vitedge_core.backends.ahead import AheadEngine, compile_ahead, total
from vitedge_core.backends.base import Artefact, Source, needs_no_rounding
from vitedge_core.convert.plain import own_copy
from vitedge_core.plan import Plan

INT8 = ("_qlinear", "_int_mm", "_weight_int8pack_mm", "int8")


@dataclass(frozen=True)
class TorchAO(AheadEngine):
    """int8 weights, one scale for each output; with `dynamic` also int8 activations, one scale for each token."""

    modules: tuple[str, ...] = ("torchao",)
    pip: str = "pip install torchao"
    dynamic: bool = True

    def supports(self, plan: Plan) -> str | None:
        """Whatever is not rounded already."""
        return needs_no_rounding(plan, self.title)

    def own_step(self, plan: Plan) -> str | None:
        """Its rounding."""
        weights = "Weights of linear layers rounded to int8, one scale for each output channel"
        return (
            f"{weights}; activations to int8, one scale for each token, found while it runs."
            if self.dynamic
            else (f"{weights}; activations stay in float.")
        )

    def build(self, source: Source) -> Artefact:
        """Round the weights and compile; cancelled or not, it leaves neither files nor processes.

        Raises:
            VitEdgeError: The compiler does not take the model, or was killed.
            Cancelled: `source.cancelled` said so.
        """
        self.check(source.plan)
        module = own_copy(source.model)
        linear = sum(isinstance(layer, nn.Linear) for layer in module.modules())
        source.report(0.0, "Rounding the weights.")
        _round(module, dynamic=self.dynamic)
        # frozen weights would be multiplied out to floats once and kept as floats: the file would be the float one
        return compile_ahead(source, module, freezing=self.dynamic, facts=lambda calls: self._facts(linear, calls))

    def _facts(self, linear: int, calls: Counter[str]) -> tuple[str, ...]:
        if not self.dynamic:
            return (f"int8 weights of {linear} linear layers, multiplied as float32: it saves memory, not time",)
        real = total(calls, *INT8)
        return (
            f"{real} products of {linear} linear layers in int8",
            "attention products, norms, convolutions in float32",
        )


def _round(module: nn.Module, *, dynamic: bool) -> None:
    """Put torchao's tensors in the place of the weights of all linear layers; in place."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_

    config: Any = Int8DynamicActivationInt8WeightConfig(version=2) if dynamic else Int8WeightOnlyConfig(version=2)
    quantize_(module, config)


ENGINES = (
    TorchAO(
        "torchao-dynamic-int8",
        "torchao, dynamic int8",
        "Linear layers multiply int8 by int8, with scales found while it runs, so it needs no calibration; compiled "
        "for a minute, and needs a C++ compiler.",
    ),
    TorchAO(
        "torchao-weight-only-int8",
        "torchao, int8 weights only",
        "Weights are kept in int8 and multiplied as floats: it saves memory, not time. Compiled for a minute, and "
        "needs a C++ compiler.",
        dynamic=False,
    ),
)
