"""Exported files opened for passes in the runtimes they are made for: ONNX Runtime and OpenVINO, on the CPU.

Both take the number of threads once, when a model is opened; it is opened anew when PyTorch's has changed meanwhile.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vitedge_core.convert.quiet import first_line
from vitedge_core.errors import VitEdgeError

Pass = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Opened(nn.Module, ABC):
    """Something that takes images [B, 3, height, width] and gives logits [B, K], in as many threads as PyTorch has.

    batch: images it always wants at once; 0 when any number will do.
    """

    title: str

    def __init__(self, batch: int = 0) -> None:
        super().__init__()
        self.batch = batch
        self._pass: Pass | None = None
        self._threads = 0

    @abstractmethod
    def _open(self, threads: int) -> Pass:
        """Ready for passes."""

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, height, width] -> [B, K].

        Raises:
            VitEdgeError: The runtime cannot carry it out.
        """
        threads = torch.get_num_threads()
        try:
            if self._pass is None or threads != self._threads:
                self._pass, self._threads = self._open(threads), threads
            array = np.ascontiguousarray(images.detach().numpy(), dtype=np.float32)
            return torch.from_numpy(self._in_batches(array, self._pass))
        except Exception as error:  # runtimes raise whatever a file provokes
            raise VitEdgeError(f"{self.title} cannot run this file ({first_line(error)}); export it again.") from error

    def _in_batches(self, images: NDArray[np.float32], run: Pass) -> NDArray[np.float32]:
        """All at once, or in the batches the file wants, the last one filled up with its own images."""
        if not self.batch or len(images) == self.batch:
            return run(images)
        found = []
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            found.append(run(np.resize(part, (self.batch, *part.shape[1:])))[: len(part)].copy())
        return np.concatenate(found)


class OnnxRuntime(Opened):
    """A model of ONNX, given as bytes so that it can name no other file."""

    title = "ONNX Runtime"

    def __init__(self, model: bytes, batch: int = 0) -> None:
        super().__init__(batch)
        self._model = model

    def _open(self, threads: int) -> Pass:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda images: session.run(None, {name: images})[0]  # type: ignore[return-value]


class OpenVino(Opened):
    """A model of OpenVINO. What it holds as float is computed in float32, not in the processor's shorter floats."""

    title = "OpenVINO"

    def __init__(self, model: Any, batch: int = 0) -> None:
        super().__init__(batch)
        self._model = model

    def _open(self, threads: int) -> Pass:
        import openvino

        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        request = openvino.Core().compile_model(self._model, "CPU", settings).create_infer_request()
        return lambda images: request.infer([images])[0].copy()
