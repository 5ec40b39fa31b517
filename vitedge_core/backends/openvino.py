"""OpenVINO on the CPU: float32, bfloat16, int8 with fixed scales, and int8 weights with scales found in every pass.

The precision of what stays float is always asked for by name: left to itself the plug-in takes bfloat16 where the
processor has it. Fixed scales are the recipe's own where it rounds to 8 bits; else NNCF finds them on images.
https://docs.openvino.ai/2026/openvino-workflow/model-optimization.html
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
from vitedge_core.convert.engine_form import for_engines
from vitedge_core.convert.onnx import float_onnx, integer_onnx
from vitedge_core.convert.processor import cuts_sums_off, half_range, unsigned_codes
from vitedge_core.convert.quiet import first_line, quietly
from vitedge_core.errors import VitEdgeError
from vitedge_core.plan import Plan

FLOAT32, BFLOAT16 = "f32", "bf16"
MOST_IMAGES = 64
_PRODUCTS = {"FullyConnected", "MatMul", "Convolution", "ScaledDotProductAttention"}
_INTEGER = {"u8", "i8"}


class OvRunner(Runner):
    """An inference request of OpenVINO."""

    def __init__(self, compiled: Any, threads: int, batch: int) -> None:
        self._request, self.threads, self.batch = compiled.create_infer_request(), threads, batch

    def __call__(self, images: Tensor) -> Tensor:
        """[B, 3, height, width] -> [B, K]."""
        return torch.from_numpy(self._request.infer([images.numpy()])[0])


class OvArtefact(Artefact):
    """A graph of OpenVINO, and the precision of what is float in it."""

    def __init__(self, model: Any, precision: str, facts: tuple[str, ...], started: float) -> None:
        self.model, self.precision = model, precision
        self.bytes = _file_size(model)
        self.facts = (*facts, *_what_runs(self.compiled(1, 1), precision))
        self.seconds = time.perf_counter() - started

    def compiled(self, threads: int, batch: int) -> Any:
        """The graph made ready for one batch size.

        Raises:
            VitEdgeError: The plug-in cannot take it.
        """
        model = self.model.clone()
        first = model.inputs[0]
        asked = {
            "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": self.precision, "ENABLE_CPU_PINNING": False,
        }  # fmt: skip
        try:
            model.reshape({first: [batch, *(size.get_length() for size in list(first.partial_shape)[1:])]})
            return _core().compile_model(model, "CPU", asked)
        except RuntimeError as error:
            raise VitEdgeError(
                f"OpenVINO cannot run this model ({first_line(error)}); choose another engine."
            ) from error

    def open(self, threads: int = 1, batch: int = 1) -> OvRunner:
        """Compiled for that batch."""
        return OvRunner(self.compiled(threads, batch), threads, batch)


@dataclass(frozen=True)
class OpenVino(Engine):
    """float32."""

    key: str = "openvino"
    title: str = "OpenVINO"
    about: str = "The whole network as one graph in float32, with fused operations; built in seconds."
    modules: tuple[str, ...] = ("onnx", "onnxscript", "openvino")
    pip: str = "pip install onnx onnxscript openvino"
    precision: str = FLOAT32

    def supports(self, plan: Plan) -> str | None:
        """All that keeps its activations in float."""
        return needs_float_activations(plan, self.title)

    def build(self, source: Source) -> Artefact:
        """Convert and compile once, so that a graph it cannot run is told now."""
        self.check(source.plan)
        start = time.perf_counter()
        source.report(0.0, "Converting to ONNX")
        model, facts = self._graph(source)
        source.check_cancelled()
        source.report(0.9, "Compiling")
        artefact = OvArtefact(model, self.precision, facts, start)
        source.report(1.0, "Built.")
        return artefact

    def _graph(self, source: Source) -> tuple[Any, tuple[str, ...]]:
        return _read(float_onnx(for_engines(source.model), source.example, source.cancelled)), ()


@dataclass(frozen=True)
class OpenVinoBf16(OpenVino):
    """bfloat16."""

    key: str = "openvino-bf16"
    title: str = "OpenVINO, bfloat16"
    about: str = (
        "The whole network as one graph with products in bfloat16 where the processor has it (else float32); built in "
        "seconds."
    )
    precision: str = BFLOAT16

    def own_step(self, plan: Plan) -> str | None:
        """It rounds on its own account."""
        return "OpenVINO rounds weights and activations to bfloat16, which keeps 8 of 24 significant bits."


@dataclass(frozen=True)
class OpenVinoInt8(OpenVino):
    """int8 with scales fixed beforehand."""

    key: str = "openvino-int8"
    title: str = "OpenVINO, int8"
    about: str = (
        "int8 with fixed scales: the recipe's own where it rounds to 8 bits, else found by NNCF on calibration images; "
        "built in seconds to a minute."
    )
    modules: tuple[str, ...] = ("onnx", "onnxscript", "openvino", "nncf")
    pip: str = "pip install onnx onnxscript openvino nncf"

    def supports(self, plan: Plan) -> str | None:
        """8 bits or float."""
        return needs_eight_bits(plan, self.title)

    def own_step(self, plan: Plan) -> str | None:
        """It calibrates where the recipe does not."""
        if plan.quantised:
            return None
        return (
            f"NNCF rounds weights and the inputs of all products to int8, with ranges from up to {MOST_IMAGES} "
            "calibration images; in transformers it first moves outliers from activations into weights (SmoothQuant)."
        )

    def _graph(self, source: Source) -> tuple[Any, tuple[str, ...]]:
        if source.plan.quantised:
            proto = integer_onnx(for_engines(source.model), source.example, source.cancelled)
            return _read(proto), ("the recipe's own scales", *unsigned_codes())
        model = _read(float_onnx(for_engines(source.model), source.example, source.cancelled))
        return _calibrated(model, source), ("scales by NNCF", *half_range())


@dataclass(frozen=True)
class OpenVinoCompressed(OpenVino):
    """int8 weights, activations rounded in groups when they come."""

    key: str = "openvino-compressed"
    title: str = "OpenVINO, int8 weights"
    about: str = (
        "Weights in int8, inputs of linear layers rounded with a scale found anew for every 32 values; needs no "
        "images, built in seconds."
    )
    modules: tuple[str, ...] = ("onnx", "onnxscript", "openvino", "nncf")
    pip: str = "pip install onnx onnxscript openvino nncf"

    def supports(self, plan: Plan) -> str | None:
        """Models that round nothing yet."""
        return needs_no_rounding(plan, self.title)

    def own_step(self, plan: Plan) -> str | None:
        """It rounds on its own account."""
        return (
            "NNCF rounds weights to int8, and OpenVINO rounds the inputs of linear layers with a scale for every 32 "
            "values in every pass; attention products stay float32."
        )

    def _graph(self, source: Source) -> tuple[Any, tuple[str, ...]]:
        import nncf

        model = _read(float_onnx(for_engines(source.model), source.example, source.cancelled, rows=False))
        source.report(0.5, "Rounding weights")
        try:
            with quietly(source.cancelled):
                return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM), ()
        except (RuntimeError, ValueError, nncf.ValidationError) as error:
            raise _cannot_round(error) from error


@lru_cache(maxsize=1)
def _core() -> Any:
    import openvino

    return openvino.Core()


def _read(proto: Any) -> Any:
    """OpenVINO's graph of an ONNX one."""
    try:
        return _core().read_model(proto.SerializeToString())
    except (RuntimeError, ValueError) as error:
        raise VitEdgeError(f"OpenVINO cannot read this model ({first_line(error)}); choose another engine.") from error


def _calibrated(model: Any, source: Source) -> Any:
    """NNCF's post-training quantisation, an image at a time as it advises for transformers."""
    import nncf

    images = source.calibration()[:MOST_IMAGES].split(1)
    attends = any(block.attention != "other" for block in source.plan.blocks)

    def asked(image: Tensor) -> Any:
        source.check_cancelled()
        return image.numpy()

    try:
        with quietly(source.cancelled):
            return nncf.quantize(
                model, nncf.Dataset(_Watched(images, source), asked), subset_size=len(images),
                preset=nncf.QuantizationPreset.MIXED, model_type=nncf.ModelType.TRANSFORMER if attends else None,
                advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=overflow_fix()),
            )  # fmt: skip
    except VitEdgeError:
        raise
    except Exception as error:
        raise _cannot_round(error) from error


def overflow_fix() -> Any:
    """NNCF's word for weights in half of the range where this processor would cut sums of products off."""
    from nncf.quantization.advanced_parameters import OverflowFix

    return OverflowFix.ENABLE if cuts_sums_off() else OverflowFix.FIRST_LAYER


class _Watched:
    """Images that NNCF passes over several times; says how far it is."""

    def __init__(self, images: tuple[Tensor, ...], source: Source) -> None:
        self._images, self._source, self._seen = images, source, 0

    def __iter__(self) -> Iterator[Tensor]:
        for image in self._images:
            self._seen += 1
            self._source.report(min(0.85, 0.3 + 0.2 * self._seen / len(self._images)), "Observing activations")
            yield image

    def __len__(self) -> int:
        return len(self._images)


def _cannot_round(error: Exception) -> VitEdgeError:
    return VitEdgeError(
        f"NNCF cannot round this model ({first_line(error)}); add a quantisation step with 8 bits to the recipe, or "
        "choose another engine."
    )


def _file_size(model: Any) -> int:
    """Bytes of the two files of OpenVINO's format."""
    import openvino

    with TemporaryDirectory(prefix="vitedge-") as folder:
        openvino.save_model(model, Path(folder) / "model.xml", compress_to_fp16=False)
        return sum(file.stat().st_size for file in Path(folder).iterdir())


def _what_runs(compiled: Any, asked: str) -> tuple[str, ...]:
    """The precision the plug-in really took, and how many products of its own graph are integer ones."""
    taken = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    precision = f"what is float runs in {taken}"
    if taken != asked:
        precision = f"this processor has no {asked}, so what is float runs in {taken}"
    kinds = [_kind(node) for node in compiled.get_runtime_model().get_ops()]
    products = [bits for layer, bits in kinds if layer in _PRODUCTS]
    integer = sum(bits in _INTEGER for bits in products)
    return (precision, f"{integer} of {len(products)} matrix products run in int8") if integer else (precision,)


def _kind(node: Any) -> tuple[str, str]:
    """What a node of the executed graph does, and in which precision."""
    info = node.get_rt_info()
    return str(info["layerType"].astype(str)), str(info["runtimePrecision"].astype(str))


ENGINES = (OpenVino(), OpenVinoBf16(), OpenVinoInt8(), OpenVinoCompressed())
