"""A compressed model as an ONNX graph with a dynamic batch; 8-bit grids become QuantizeLinear and DequantizeLinear.

Steps and zero points in the file are those of the recipe, and weights are stored as the integers they are rounded to:
the file is four times smaller, and every engine that reads such pairs (ONNX Runtime, OpenVINO) multiplies integers.
https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from timm.layers.linear import Linear as TimmLinear
from torch import Tensor, nn

from vitedge_core.convert.plain import activation_grids, in_floats, own_copy
from vitedge_core.convert.processor import cuts_sums_off
from vitedge_core.convert.quiet import first_line, quietly, stop_if
from vitedge_core.errors import VitEdgeError
from vitedge_core.surgery.grid import SYMMETRIC, Grid
from vitedge_core.surgery.replace import QuantConv, QuantLinear, put, quantised_layers

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20  # the first with GELU as one operation
IMAGES, LOGITS, BATCH = "images", "logits", "batch"  # names of input, output and dynamic dimension in the file
BITS = 8
_LINEAR = {nn.Linear, TimmLinear}


def float_onnx(
    model: nn.Module, example: Tensor, cancelled: Callable[[], bool] = lambda: False, *, rows: bool = True
) -> ModelProto:
    """The model in float32; rounded weights are written out as floats.

    Args:
        model: On the CPU, in eval mode; it is not changed.
        example: Prepared images [n, 3, height, width]; their size is fixed in the file, their number is not.
        cancelled: Asked between the stages.
        rows: Linear layers as Gemm on rows, else as MatMul on what comes. OpenVINO keeps compressed weights compressed
            behind MatMul only.

    Raises:
        VitEdgeError: Activations are rounded, or the exporter cannot follow the model.
        Cancelled: `cancelled` said so.
    """
    return _exported(in_floats(model), example, cancelled, rows=rows)


def integer_onnx(model: nn.Module, example: Tensor, cancelled: Callable[[], bool] = lambda: False) -> ModelProto:
    """The model with its own 8-bit grids as pairs of QuantizeLinear and DequantizeLinear; what is float stays float.

    On a processor that would cut sums off, all codes are unsigned, with a zero point of 128 where they are symmetric;
    the values stay.

    Args:
        model: On the CPU, in eval mode; it is not changed.
        example: Prepared images [n, 3, height, width]; their size is fixed in the file, their number is not.
        cancelled: Asked between the stages.

    Raises:
        VitEdgeError: A grid has other than 8 bits, or the exporter cannot follow the model.
        Cancelled: `cancelled` said so.
    """
    copied = own_copy(model)
    _write_integers(copied, unsigned=cuts_sums_off())
    return _exported(copied, example, cancelled, rows=True)


def _write_integers(model: nn.Module, *, unsigned: bool) -> None:
    """Put layers that carry integers where those with grids are; in place."""
    for path, layer in list(quantised_layers(model)):
        grid = layer.weight_grid
        if isinstance(grid, Grid):
            _check(path, grid)
            weight = _Weight(layer.weight, grid, unsigned=unsigned)
            linear = isinstance(layer, QuantLinear)
            put(model, path, _IntegerLinear(layer, weight) if linear else _IntegerConv(layer, weight))
    for path, grid in list(activation_grids(model)):
        _check(path, grid)
        put(model, path, _Pair(grid, unsigned=unsigned))


def _check(path: str, grid: Grid) -> None:
    if grid.bits != BITS:
        raise VitEdgeError(
            f"{path} is on a grid of {grid.bits} bits and an ONNX file that engines run with integers needs {BITS}; "
            "set 8 bits in the quantisation step."
        )


class _Codes(nn.Module):
    """Step, zero point and the type of the integers of a grid."""

    step: Tensor
    zero: Tensor

    def __init__(self, grid: Grid, *, unsigned: bool) -> None:
        super().__init__()
        signed = grid.scheme == SYMMETRIC and not unsigned
        self.integers = torch.int8 if signed else torch.uint8
        self.lowest = grid.low if signed else 0
        self.register_buffer("step", grid.step.flatten() if grid.step.dim() else grid.step.clone())
        zero = grid.zero - grid.low + self.lowest
        self.register_buffer("zero", zero.to(self.integers).reshape(self.step.shape))

    def dequantised(self, codes: Tensor) -> Tensor:
        """Integers, with a step for each row where there are several -> floats of the same shape."""
        axis: dict[str, Any] = {"axis": 0} if self.step.dim() else {}
        inputs = (codes, self.step, self.zero)
        return torch.onnx.ops.symbolic("DequantizeLinear", inputs, axis, dtype=torch.float32, shape=codes.shape)


class _Pair(_Codes):
    """Rounds activations: integers and back."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; the same on the grid."""
        inputs = (x, self.step, self.zero)
        return self.dequantised(torch.onnx.ops.symbolic("QuantizeLinear", inputs, dtype=self.integers, shape=x.shape))


class _Weight(_Codes):
    """The integers of a weight."""

    codes: Tensor

    def __init__(self, weight: Tensor, grid: Grid, *, unsigned: bool) -> None:
        super().__init__(grid, unsigned=unsigned)
        self.register_buffer("codes", (grid.codes(weight) + self.lowest).to(self.integers))

    def forward(self) -> Tensor:
        """The rounded weight."""
        return self.dequantised(self.codes)


class _IntegerLinear(nn.Module):
    """A linear layer as Gemm on rows, the form of which ONNX Runtime makes one integer product."""

    def __init__(self, host: QuantLinear, weight: _Weight) -> None:
        super().__init__()
        self.input_grid, self.outputs = host.input_grid, host.out_features
        self.weight, self.bias = weight, host.bias

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        rows = self.input_grid(x.flatten(0, -2))
        shape = (rows.shape[0], self.outputs)
        product = torch.onnx.ops.symbolic(
            "Gemm", (rows, self.weight()), {"transB": 1}, dtype=torch.float32, shape=shape
        )
        product = product if self.bias is None else product + self.bias
        return product.unflatten(0, x.shape[:-1])


class _RowsLinear(nn.Module):
    """A linear layer as Gemm on rows: in the file it is told apart from attention products, which are MatMul."""

    def __init__(self, host: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = host.weight, host.bias

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        return F.linear(x.flatten(0, -2), self.weight, self.bias).unflatten(0, x.shape[:-1])


class _IntegerConv(nn.Module):
    """A convolution with integer weights."""

    def __init__(self, host: QuantConv, weight: _Weight) -> None:
        super().__init__()
        self.input_grid, self.weight, self.host = host.input_grid, weight, host
        host.input_grid = host.weight_grid = nn.Identity()
        self.bias = host.bias

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, height, width] -> [B, C', height', width']."""
        return self.host._conv_forward(self.input_grid(x), self.weight(), self.bias)  # noqa: SLF001


def _exported(model: nn.Module, example: Tensor, cancelled: Callable[[], bool], *, rows: bool) -> ModelProto:
    """The graph of a copy that may be used up."""
    for path, layer in list(model.named_modules()) if rows else ():
        if isinstance(layer, nn.Linear) and (type(layer) in _LINEAR or _is_float(layer)):
            put(model, path, _RowsLinear(layer))
    two = example[:1].repeat(2, 1, 1, 1)  # one image would be taken for a fixed size
    try:
        with quietly(cancelled), torch.no_grad():
            program = torch.onnx.export(
                model, (two,), dynamo=True, opset_version=OPSET, verbose=False, input_names=[IMAGES],
                output_names=[LOGITS], dynamic_shapes=({0: torch.export.Dim(BATCH)},),
            )  # fmt: skip
        stop_if(cancelled)
        assert program is not None
        return _finished(program.model_proto, type(model).__name__)
    except VitEdgeError:
        raise
    except Exception as error:  # whatever the exporter throws, it is this model that it cannot take
        raise VitEdgeError(
            f"PyTorch's ONNX exporter cannot follow this {type(model).__name__} ({first_line(error)}); choose the "
            "eager engine, or take out the step that changed its layers last."
        ) from error


def _is_float(layer: nn.Linear) -> bool:
    """Whether it has places for grids and none in them."""
    return isinstance(layer, QuantLinear) and not any(isinstance(part, Grid) for part in layer.children())


def _finished(proto: ModelProto, name: str) -> ModelProto:
    """Without the shapes of values inside: tools that rewrite the graph stumble over those they made untrue.

    Raises:
        VitEdgeError: Something in the model counted its images in Python, so that the exporter fixed their number.
    """
    if proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param != BATCH:
        raise VitEdgeError(f"This {name} fixes how many images it takes at once; choose the eager engine.")
    proto.graph.ClearField("value_info")
    for node in proto.graph.node:
        node.ClearField("metadata_props")  # file names and lines of this machine
        node.ClearField("doc_string")
    _unshare_zero_points(proto)
    return proto


def _unshare_zero_points(proto: ModelProto) -> None:
    """Give every pair a zero point of its own; in place.

    The exporter keeps equal constants once. OpenVINO leaves layers in float that share one, and ONNX Runtime those
    that have none.
    """
    constants, seen = {one.name: one for one in proto.graph.initializer}, set[str]()
    for number, node in enumerate(proto.graph.node):
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"} or len(node.input) < 3:
            continue
        name = node.input[2]
        if name in seen:
            own = proto.graph.initializer.add()
            own.CopyFrom(constants[name])
            own.name = node.input[2] = f"{name}.{number}"
        elif name in constants:
            seen.add(name)
