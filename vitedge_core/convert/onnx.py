"""A compressed model as an ONNX graph with a dynamic batch; 8-bit grids become QuantizeLinear and DequantizeLinear.

Steps and zero points in the file are those of the recipe, and weights are stored as the integers they are rounded to, so
that the file is four times smaller and every engine that reads such pairs (ONNX Runtime, OpenVINO) multiplies integers.
https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vitedge_core.convert.plain import activation_grids, in_floats, own_copy, write_rounded
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.surgery.grid import SYMMETRIC, Grid
from vitedge_core.surgery.replace import QuantConv, QuantLinear, put, quantised_layers

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20  # the first with GELU as one operation
IMAGES, LOGITS, BATCH = "images", "logits", "batch"  # names of input, output and dynamic dimension in the file
BITS = 8
_LOUD = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")
_exporter = threading.Lock()  # the exporter keeps state of its own for the whole process


def float_onnx(model: nn.Module, example: Tensor, cancelled: Callable[[], bool] = lambda: False) -> ModelProto:
    """The model in float32; rounded weights are written out as floats.

    Args:
        model: On the CPU, in eval mode; it is not changed.
        example: Prepared images [n, 3, height, width]; their size is fixed in the file, their number is not.
        cancelled: Asked between the stages.

    Raises:
        VitEdgeError: Activations are rounded, or the exporter cannot follow the model.
        Cancelled: `cancelled` said so.
    """
    return _exported(in_floats(model), example, cancelled)


def integer_onnx(model: nn.Module, example: Tensor, cancelled: Callable[[], bool] = lambda: False) -> ModelProto:
    """The model with its own 8-bit grids as pairs of QuantizeLinear and DequantizeLinear; what is float stays float.

    Args:
        model: On the CPU, in eval mode; it is not changed.
        example: Prepared images [n, 3, height, width]; their size is fixed in the file, their number is not.
        cancelled: Asked between the stages.

    Raises:
        VitEdgeError: A grid has other than 8 bits, or the exporter cannot follow the model.
        Cancelled: `cancelled` said so.
    """
    copied = own_copy(model)
    _write_integers(copied)
    return _exported(copied, example, cancelled)


def _write_integers(model: nn.Module) -> None:
    """Put layers that carry integers where those with grids are; in place."""
    for path, layer in list(quantised_layers(model)):
        grid = layer.weight_grid
        if isinstance(grid, Grid):
            _check(path, grid)
            put(model, path, _IntegerLinear(layer) if isinstance(layer, QuantLinear) else _IntegerConv(layer))
    for path, grid in list(activation_grids(model)):
        _check(path, grid)
        put(model, path, _Pair(grid))


def _check(path: str, grid: Grid) -> None:
    if grid.bits != BITS:
        raise VitEdgeError(
            f"{path} is on a grid of {grid.bits} bits and an ONNX file that engines run with integers needs {BITS}; set "
            "8 bits in the quantisation step."
        )


class _Codes(nn.Module):
    """Step, zero point and the type of the integers of a grid."""

    step: Tensor
    zero: Tensor

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.type = torch.int8 if grid.scheme == SYMMETRIC else torch.uint8
        self.register_buffer("step", grid.step.flatten() if grid.step.dim() else grid.step.clone())
        self.register_buffer("zero", grid.zero.to(self.type).reshape(self.step.shape))

    def dequantised(self, codes: Tensor) -> Tensor:
        """Integers, with a step for each row where there are several -> floats of the same shape."""
        axis = {"axis": 0} if self.step.dim() else {}
        inputs = (codes, self.step, self.zero)
        return torch.onnx.ops.symbolic("DequantizeLinear", inputs, axis, dtype=torch.float32, shape=codes.shape)


class _Pair(_Codes):
    """Rounds activations: integers and back."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; the same on the grid."""
        inputs = (x, self.step, self.zero)
        return self.dequantised(torch.onnx.ops.symbolic("QuantizeLinear", inputs, dtype=self.type, shape=x.shape))


class _Weight(_Codes):
    """The integers of a weight."""

    codes: Tensor

    def __init__(self, weight: Tensor, grid: Grid) -> None:
        super().__init__(grid)
        self.register_buffer("codes", (grid.codes(weight) + grid.low).to(self.type))

    def forward(self) -> Tensor:
        """The rounded weight."""
        return self.dequantised(self.codes)


class _IntegerLinear(nn.Module):
    """A linear layer as Gemm on rows, the form of which ONNX Runtime makes one integer product."""

    def __init__(self, host: QuantLinear) -> None:
        super().__init__()
        assert isinstance(host.weight_grid, Grid)
        self.input_grid, self.outputs = host.input_grid, host.out_features
        self.weight = _Weight(host.weight, host.weight_grid)
        self.bias = host.bias

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        rows = self.input_grid(x.flatten(0, -2))
        shape = (rows.shape[0], self.outputs)
        product = torch.onnx.ops.symbolic(
            "Gemm", (rows, self.weight()), {"transB": 1}, dtype=torch.float32, shape=shape
        )
        product = product if self.bias is None else product + self.bias
        return product.unflatten(0, x.shape[:-1])


class _IntegerConv(nn.Module):
    """A convolution with integer weights."""

    def __init__(self, host: QuantConv) -> None:
        super().__init__()
        assert isinstance(host.weight_grid, Grid)
        self.input_grid, self.weight = host.input_grid, _Weight(host.weight, host.weight_grid)
        self.host = host
        host.input_grid = host.weight_grid = nn.Identity()
        self.bias = host.bias

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, height, width] -> [B, C', height', width']."""
        return self.host._conv_forward(self.input_grid(x), self.weight(), self.bias)  # noqa: SLF001


def _exported(model: nn.Module, example: Tensor, cancelled: Callable[[], bool]) -> ModelProto:
    """The graph of a copy that may be used up."""
    while not _exporter.acquire(timeout=0.1):
        _stop_if(cancelled)
    try:
        _stop_if(cancelled)
        two = example[:1].repeat(2, 1, 1, 1)  # one image would be taken for a fixed size
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                model, (two,), dynamo=True, opset_version=OPSET, verbose=False, input_names=[IMAGES],
                output_names=[LOGITS], dynamic_shapes=({0: torch.export.Dim(BATCH)},),
            )  # fmt: skip
        _stop_if(cancelled)
        assert program is not None
        return _finished(program.model_proto)
    except (Cancelled, VitEdgeError):
        raise
    except Exception as error:  # whatever the exporter throws, it is this model that it cannot take
        raise VitEdgeError(
            f"PyTorch's ONNX exporter cannot follow this {type(model).__name__} ({_first_line(error)}); choose the "
            "eager engine, or take out the step that changed its layers last."
        ) from error
    finally:
        _exporter.release()


def _finished(proto: ModelProto) -> ModelProto:
    """Without the shapes of values inside: tools that rewrite the graph stumble over those they made untrue."""
    proto.graph.ClearField("value_info")
    for node in proto.graph.node:
        node.ClearField("metadata_props")  # file names and lines of this machine
        node.ClearField("doc_string")
    return proto


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints, logs and warns; all of that is put back afterwards."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("The conversion was cancelled; nothing was written.")


def _first_line(error: Exception) -> str:
    """What went wrong at the bottom, in one line."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".")[:120]
