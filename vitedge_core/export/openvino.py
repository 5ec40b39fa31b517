"""OpenVINO's own files: the graph as .xml, the weights as .bin beside it; `rt_info` carries the passport's words."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor

from vitedge_core.convert.onnx import float_onnx, integer_onnx
from vitedge_core.convert.quiet import first_line
from vitedge_core.errors import VitEdgeError
from vitedge_core.export.check import FLOATS, INTEGERS, Limits
from vitedge_core.export.forms import Form, Parcel
from vitedge_core.export.loaded import answers_of
from vitedge_core.export.onnx import needs_eight_bits
from vitedge_core.export.passport import PREFIX, Passport
from vitedge_core.plan import FLOAT_BITS, Plan


class OpenVinoIr(Form):
    """float32, or the recipe's own 8-bit grids where it rounds."""

    key = "openvino"
    title = "OpenVINO IR"
    ending = ".xml"
    purpose = "For Intel processors and their graphics: an .xml with its .bin beside it, any batch size."
    lacks = "Unless told otherwise OpenVINO computes floats in bfloat16 where the processor can; the check told it."
    modules = ("openvino", "onnx", "onnxscript")
    pip = "pip install openvino onnx onnxscript"

    def supports(self, plan: Plan) -> str | None:
        """Eight bits, or float; weights of few bits under float activations are floats there."""
        if not _rounds_activations(plan):
            return None
        return needs_eight_bits(self.title, plan)

    def convert(self, parcel: Parcel) -> Any:
        """By way of ONNX, whose pairs of rounding OpenVINO turns into its own."""
        import openvino

        convert = integer_onnx if _rounds_activations(parcel.plan) else float_onnx
        graph = convert(parcel.model, parcel.proof[:1], parcel.cancelled)
        parcel.tick(0.4, "Translating to OpenVINO.")
        try:
            return openvino.Core().read_model(model=graph.SerializeToString())
        except Exception as error:
            raise VitEdgeError(f"OpenVINO cannot read this model ({first_line(error)}); choose ONNX.") from error

    def save(self, converted: Any, passport: Passport, path: Path) -> None:
        """Twice, because the .xml names the digest of the .bin."""
        import openvino

        openvino.save_model(converted, path, compress_to_fp16=False)
        digest = hashlib.sha256(path.with_suffix(".bin").read_bytes()).hexdigest()
        for key, value in passport.with_content(digest).entries().items():
            converted.set_rt_info(value, [PREFIX.rstrip("."), key.removeprefix(PREFIX)])
        openvino.save_model(converted, path, compress_to_fp16=False)

    def limits(self, plan: Plan) -> Limits:
        """Those of the kernels that will do the work."""
        return INTEGERS if _rounds_activations(plan) else FLOATS

    def answers(self, path: Path, images: Tensor) -> Tensor:
        """In OpenVINO, opened with every check a stranger's file gets."""
        return answers_of(path, images)


def _rounds_activations(plan: Plan) -> bool:
    return any(op.a_bits < FLOAT_BITS for op in plan.ops)
