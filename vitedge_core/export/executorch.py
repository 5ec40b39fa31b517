"""An ExecuTorch program (`.pte`) for phones and boards, its products carried out by XNNPACK's kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitedge_core.convert.quiet import first_line, quietly
from vitedge_core.errors import VitEdgeError
from vitedge_core.export.forms import Form, Parcel
from vitedge_core.export.passport import PREFIX, Passport
from vitedge_core.plan import FLOAT_BITS, Plan


class Pte(Form):
    """float32 for one image at a time."""

    key = "pte"
    title = "ExecuTorch (.pte)"
    ending = ".pte"
    purpose = "For phones and boards: ExecuTorch's small runtime opens it, and XNNPACK's kernels do the products."
    lacks = "One image at a time, all in float32, also weights of few bits; the recipe goes along, the figures do not."
    modules = ("executorch",)
    pip = "pip install executorch"

    def supports(self, plan: Plan) -> str | None:
        """What rounds no activations: that would be computed in float there, slower than without."""
        if any(op.a_bits < FLOAT_BITS for op in plan.ops):
            return (
                "ExecuTorch would round activations in float here, slower than without; leave activations in float "
                "(a_bits = 32), or choose ONNX int8 or OpenVINO."
            )
        return None

    def convert(self, parcel: Parcel) -> Any:
        """Lower it to XNNPACK, operation by operation where XNNPACK has none; a minute for a small model."""
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        try:
            with quietly(parcel.cancelled):
                traced = torch.export.export(parcel.model, (parcel.proof[:1],))
                parcel.tick(0.2, "Lowering to XNNPACK.")
                words = parcel.passport(self.key).entries()
                told = {f"vitedge_{name}": words[PREFIX + name] for name in ("recipe", "digest", "preparation")}
                lowered = to_edge_transform_and_lower(traced, partitioner=[XnnpackPartitioner()], constant_methods=told)
                parcel.tick(0.5, "Writing the program.")
                return lowered.to_executorch()
        except VitEdgeError:
            raise
        except Exception as error:
            raise VitEdgeError(f"ExecuTorch cannot lower this model ({first_line(error)}); choose ONNX.") from error

    def save(self, converted: Any, passport: Passport, path: Path) -> None:
        """The program; recipe, digest and preparation are methods of it that return their text."""
        with path.open("wb") as file:
            converted.write_to_file(file)

    def answers(self, path: Path, images: Tensor) -> Tensor:
        """One image after the other, in ExecuTorch's own runtime."""
        from executorch.runtime import Runtime

        method = Runtime.get().load_program(path).load_method("forward")
        assert method is not None  # every exported program has it
        return torch.cat([method.execute([image[None]])[0].clone() for image in images])
