"""ONNX Runtime on the CPU: float32, int8 with scales found in every pass, and int8 with fixed scales.

Fixed scales are the recipe's own where it rounds to 8 bits; else ONNX Runtime's calibration finds them, for the linear
layers alone: attention products in int8 cost it accuracy and time. https://onnxruntime.ai/docs/performance/
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from vitedge_core.backends.base import (
    Artefact,
    Engine,
    Runner,
    Source,
    needs_eight_bits,
    needs_float_activations,
    needs_no_rounding,
)
from vitedge_core.convert.onnx import BATCH, IMAGES, OPSET, float_onnx, integer_onnx
from vitedge_core.convert.processor import cuts_sums_off, unsigned_codes
from vitedge_core.convert.quiet import first_line, quietly
from vitedge_core.errors import VitEdgeError
from vitedge_core.plan import Plan

if TYPE_CHECKING:
    from onnx import ModelProto

MOST_IMAGES = 64  # the calibrator keeps every intermediate result
_PRODUCTS = {"Gemm", "FusedGemm", "MatMul", "FusedMatMul", "Conv", "FusedConv", "Attention"}
_INTEGER = {
    "QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "MatMulInteger", "DynamicQuantizeMatMul", "QLinearConv",
    "ConvInteger",
}  # fmt: skip


class OrtRunner(Runner):
    """A session of ONNX Runtime."""

    def __init__(self, session: Any, threads: int, batch: int) -> None:
        self._session, self.threads, self.batch = session, threads, batch

    def __call__(self, images: Tensor) -> Tensor:
        """[B, 3, height, width] -> [B, K]."""
        return torch.from_numpy(self._session.run(None, {IMAGES: images.numpy()})[0])


class OrtArtefact(Artefact):
    """An ONNX file in memory."""

    def __init__(self, content: bytes, facts: tuple[str, ...], seconds: float) -> None:
        self.content, self.bytes, self.facts, self.seconds = content, len(content), facts, seconds

    def open(self, threads: int = 1, batch: int = 1) -> OrtRunner:
        """A session for that batch, with all graph optimisations."""
        return OrtRunner(_session(self.content, threads, batch), threads, batch)


@dataclass(frozen=True)
class OnnxRuntime(Engine):
    """float32."""

    key: str = "onnxruntime"
    title: str = "ONNX Runtime"
    about: str = "The whole network as one graph in float32, with fused operations; built in seconds."
    modules: tuple[str, ...] = ("onnx", "onnxscript", "onnxruntime")
    pip: str = "pip install onnx onnxscript onnxruntime"

    def supports(self, plan: Plan) -> str | None:
        """All that keeps its activations in float."""
        return needs_float_activations(plan, self.title)

    def build(self, source: Source) -> Artefact:
        """Convert; a session is opened once, so that a graph it cannot run is told now."""
        self.check(source.plan)
        start = time.perf_counter()
        source.report(0.0, "Converting to ONNX")
        proto = self._graph(source)
        content = _serialised(proto)
        source.check_cancelled()
        source.report(0.9, "Opening the graph")
        facts = self._facts(proto, content)
        source.report(1.0, "Built.")
        return OrtArtefact(content, facts, time.perf_counter() - start)

    def _graph(self, source: Source) -> ModelProto:
        return float_onnx(source.model, source.example, source.cancelled)

    def _facts(self, proto: ModelProto, content: bytes) -> tuple[str, ...]:
        _session(content, 1, 1)
        return (f"float32, opset {OPSET}, all graph optimisations",)


@dataclass(frozen=True)
class OnnxRuntimeDynamic(OnnxRuntime):
    """int8 weights; the scale of an activation is found when it comes."""

    key: str = "onnxruntime-dynamic-int8"
    title: str = "ONNX Runtime, dynamic int8"
    about: str = (
        "Weights in int8, activations rounded with a scale found anew in every pass; needs no images, built in seconds."
    )

    def supports(self, plan: Plan) -> str | None:
        """Models that round nothing yet."""
        return needs_no_rounding(plan, self.title)

    def own_step(self, plan: Plan) -> str | None:
        """It rounds on its own account."""
        return (
            "ONNX Runtime rounds the weights of linear layers to int8 and their inputs to uint8 with a scale of its "
            "own for every pass; attention products stay float32."
        )

    def _graph(self, source: Source) -> ModelProto:
        from onnxruntime.quantization import quantize_dynamic

        proto = float_onnx(source.model, source.example, source.cancelled)
        source.report(0.5, "Rounding weights")

        def convert(folder: Path) -> Path:
            target = folder / "dynamic.onnx"
            quantize_dynamic(
                proto, target, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=_weight_type()
            )
            return target

        return _rewritten(convert, source, self.title)

    def _facts(self, proto: ModelProto, content: bytes) -> tuple[str, ...]:
        return (_int8_share(proto, content), "scales of activations are found in every pass", *unsigned_codes())


@dataclass(frozen=True)
class OnnxRuntimeStatic(OnnxRuntime):
    """int8 with scales fixed beforehand."""

    key: str = "onnxruntime-int8"
    title: str = "ONNX Runtime, static int8"
    about: str = (
        "int8 with fixed scales: the recipe's own where it rounds to 8 bits, else found on calibration images; built "
        "in seconds to a minute."
    )

    def supports(self, plan: Plan) -> str | None:
        """8 bits or float."""
        return needs_eight_bits(plan, self.title)

    def own_step(self, plan: Plan) -> str | None:
        """It calibrates where the recipe does not."""
        if plan.quantised:
            return None
        return (
            f"ONNX Runtime rounds linear layers to int8, with ranges from the extremes on up to {MOST_IMAGES} "
            "calibration images; attention products and convolutions stay float32."
        )

    def _graph(self, source: Source) -> ModelProto:
        if source.plan.quantised:
            return integer_onnx(source.model, source.example, source.cancelled)
        proto = float_onnx(source.model, source.example, source.cancelled)
        source.report(0.3, "Observing activations")
        images = _Feed(source)
        return _rewritten(lambda folder: _calibrated(proto, images, folder), source, self.title)

    def _facts(self, proto: ModelProto, content: bytes) -> tuple[str, ...]:
        return (_int8_share(proto, content), "scales of activations are fixed in the file", *unsigned_codes())


class _Feed:
    """Calibration images one by one, as ONNX Runtime asks for them; stops when the user does."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._images = source.calibration()[:MOST_IMAGES]
        self._next = 0

    def get_next(self) -> dict[str, Any] | None:
        """The input of one pass; None at the end."""
        self._source.check_cancelled()
        if self._next == len(self._images):
            return None
        self._next += 1
        self._source.report(0.3 + 0.5 * self._next / len(self._images), "Observing activations")
        return {IMAGES: self._images[self._next - 1 : self._next].numpy()}


def _calibrated(proto: ModelProto, images: _Feed, folder: Path) -> Path:
    """Only Gemm, which linear layers are in the file; attention products are MatMul."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    CalibrationDataReader.register(_Feed)
    target, reader = folder / "static.onnx", cast("CalibrationDataReader", images)
    quantize_static(
        proto, target, reader, quant_format=QuantFormat.QDQ, op_types_to_quantize=["Gemm"], per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=_weight_type(),
    )  # fmt: skip
    return target


def _weight_type() -> Any:
    from onnxruntime.quantization import QuantType

    return QuantType.QUInt8 if cuts_sums_off() else QuantType.QInt8


def _rewritten(convert: Callable[[Path], Path], source: Source, title: str) -> ModelProto:
    """What `convert` writes into a folder that does not stay."""
    import onnx

    try:
        with TemporaryDirectory(prefix="vitedge-") as folder, quietly(source.cancelled):
            return onnx.load(convert(Path(folder)))
    except VitEdgeError:
        raise
    except Exception as error:
        raise VitEdgeError(
            f"{title} cannot round this model ({first_line(error)}); add a quantisation step with 8 bits to the "
            "recipe, or choose another engine."
        ) from error


def _serialised(proto: ModelProto) -> bytes:
    try:
        return proto.SerializeToString()
    except ValueError as error:
        raise VitEdgeError("The model is larger than the 2 GB of an ONNX file; choose a smaller one.") from error


def _session(content: bytes, threads: int, batch: int, optimised: Path | None = None) -> Any:
    """A session with one batch size, whose threads sleep while they wait."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # what matters is raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_free_dimension_override_by_name(BATCH, batch)
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise VitEdgeError(
            f"ONNX Runtime cannot run this model ({first_line(error)}); choose another engine."
        ) from error


def _int8_share(proto: ModelProto, content: bytes) -> str:
    """How many products of the graph that is really carried out are integer ones."""
    import onnx

    with TemporaryDirectory(prefix="vitedge-") as folder:
        path = Path(folder) / "optimised.onnx"
        _session(content, 1, 1, path)
        kinds = Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)
    integer = sum(kinds[kind] for kind in _INTEGER)
    return f"{integer} of {integer + sum(kinds[kind] for kind in _PRODUCTS)} matrix products run in int8"


ENGINES = (OnnxRuntime(), OnnxRuntimeDynamic(), OnnxRuntimeStatic())
