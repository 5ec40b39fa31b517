"""PyTorch's own compiler: the model as one C++ program, in float32 or bfloat16.

Ansel et al., "PyTorch 2: Faster Machine Learning Through Dynamic Python Bytecode Transformation and Graph Compilation",
ASPLOS 2024. Used ahead of time (AOTInductor), see `ahead`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitedge_core.backends.ahead import AheadEngine, compile_ahead, total
from vitedge_core.backends.base import Artefact, Source, needs_float_activations
from vitedge_core.convert.plain import in_floats
from vitedge_core.plan import FLOAT_BITS, Plan

_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
# library calls, by what they multiply with: weights laid out beforehand, or as they are
PACKED = ("_linear_pointwise", "_mkl_linear", "mkldnn__convolution", "mkldnn__linear")
PLAIN = ("addmm", "mm_", "bmm", "convolution")


class InPrecision(nn.Module):
    """A model that computes in another number format between float32 images and float32 logits."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model.to(dtype), dtype

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, height, width] -> [B, K]."""
        return self.model(images.to(self.dtype)).float()


@dataclass(frozen=True)
class Compiled(AheadEngine):
    """Operations fused and their kernels generated for this processor; weights laid out once as the kernels want."""

    key: str = "compiled"
    title: str = "PyTorch, compiled"
    about: str = (
        "The model as one C++ program in float32, with the same results as eager; a minute to compile, and needs a C++ "
        "compiler. It saves what operations cost one by one: much on small models, little on large ones."
    )
    modules: tuple[str, ...] = ()
    dtype: torch.dtype = torch.float32

    def supports(self, plan: Plan) -> str | None:
        """Everything but rounded activations."""
        return needs_float_activations(plan, self.title)

    def own_step(self, plan: Plan) -> str | None:
        """Nothing in float32."""
        if self.dtype == torch.float32:
            return None
        return f"Weights and activations rounded to {_NAMES[self.dtype]}: 8 significant bits instead of 24."

    def build(self, source: Source) -> Artefact:
        """Compile; cancelled or not, it leaves neither files nor processes.

        Raises:
            VitEdgeError: The compiler does not take the model, or was killed.
            Cancelled: `source.cancelled` said so.
        """
        self.check(source.plan)
        module = InPrecision(in_floats(source.model), self.dtype).eval()
        return compile_ahead(source, module, freezing=True, facts=lambda calls: self._facts(source.plan, calls))

    def _facts(self, plan: Plan, calls: Counter[str]) -> tuple[str, ...]:
        laid_out, plain = total(calls, *PACKED), total(calls, *PLAIN)
        facts = (
            f"{_NAMES[self.dtype]} throughout; {laid_out} products with weights laid out beforehand, {plain} without",
        )
        if any(op.w_bits < FLOAT_BITS for op in plan.ops):
            facts += ("weights of few bits are stored and multiplied as floats: neither smaller nor faster",)
        return facts


ENGINES = (
    Compiled(),
    Compiled(
        "compiled-bf16",
        "PyTorch, compiled in bfloat16",
        "One C++ program that computes in bfloat16; a minute to compile, and needs a C++ compiler. Two to three times "
        "the speed where the processor multiplies bfloat16 itself (AVX512-BF16, AMX), slower where it does not.",
        dtype=torch.bfloat16,
    ),
)
