"""ONNX files: one graph that many runtimes read, in float32 or with the recipe's own 8-bit integers.

The words of the passport are the model's `metadata_props`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from vitedge_core.convert.onnx import OPSET, float_onnx, integer_onnx
from vitedge_core.export.check import INTEGERS, Limits
from vitedge_core.export.forms import Form, Parcel
from vitedge_core.export.loaded import answers_of, onnx_content
from vitedge_core.export.passport import Passport
from vitedge_core.plan import FLOAT_BITS, Plan


class _Onnx(Form):
    """What both kinds share."""

    ending = ".onnx"
    modules = ("onnx", "onnxscript", "onnxruntime")
    pip = "pip install onnx onnxscript onnxruntime"

    def save(self, converted: Any, passport: Passport, path: Path) -> None:
        """The graph with the words; weights are inside the file."""
        del converted.metadata_props[:]
        for key, value in passport.with_content(onnx_content(converted)).entries().items():
            converted.metadata_props.add(key=key, value=value)
        path.write_bytes(converted.SerializeToString())

    def answers(self, path: Path, images: Tensor) -> Tensor:
        """In ONNX Runtime, opened with every check a stranger's file gets."""
        return answers_of(path, images)


class OnnxFloat(_Onnx):
    """float32; weights on a grid are written out as the floats they stand for."""

    key = "onnx"
    title = "ONNX"
    purpose = f"For nearly any runtime, from servers to browsers: float32, opset {OPSET}, any batch size."
    lacks = "Weights of few bits are kept as float32, so the file is not smaller for them."

    def supports(self, plan: Plan) -> str | None:
        """What rounds no activations."""
        if any(op.a_bits < FLOAT_BITS for op in plan.ops):
            return (
                "ONNX in float32 computes activations in float and this recipe rounds them; choose ONNX int8 or "
                "OpenVINO, or leave activations in float (a_bits = 32)."
            )
        return None

    def convert(self, parcel: Parcel) -> Any:
        """Through PyTorch's exporter."""
        return float_onnx(parcel.model, parcel.proof[:1], parcel.cancelled)


class OnnxInt8(_Onnx):
    """Weights as int8, activations as pairs of QuantizeLinear and DequantizeLinear with the recipe's own scales."""

    key = "onnx-int8"
    title = "ONNX int8"
    purpose = f"For runtimes with integer kernels: a quarter of the size; opset {OPSET}, any batch size."
    lacks = "Norms, softmax, GELU and sums are computed in float32."
    integers = True

    def supports(self, plan: Plan) -> str | None:
        """Eight bits, of weights and activations, or float."""
        return needs_eight_bits(self.title, plan)

    def convert(self, parcel: Parcel) -> Any:
        """Through PyTorch's exporter, with the scales of the recipe."""
        return integer_onnx(parcel.model, parcel.proof[:1], parcel.cancelled)

    def limits(self, plan: Plan) -> Limits:
        """Integers round sums otherwise."""
        return INTEGERS

    def notes(self, plan: Plan) -> tuple[str, ...]:
        """What an integer kernel does otherwise."""
        return ("Integer kernels round sums in another order, so single answers near a tie can differ.",)


def needs_eight_bits(title: str, plan: Plan) -> str | None:
    """None, or why integer kernels cannot carry the plan out: they know 8 bits and floats."""
    odd = {bits for op in plan.ops for bits in (op.w_bits, op.a_bits)} - {8, FLOAT_BITS}
    if odd:
        bits = " and ".join(map(str, sorted(odd)))
        return f"{title} holds integers of 8 bits and this recipe asks for {bits}; set 8 bits, or choose the package."
    return None
