"""Converters print, log, warn and draw progress bars of their own; a page has its own ways to say what goes on."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

import torch

from vitedge_core.errors import Cancelled

_LOUD = ("", "torch.onnx", "torch.export", "onnxscript", "onnx_ir", "nncf", "openvino", "onnxruntime")
_turn = threading.Lock()


@contextmanager
def quietly(cancelled: Callable[[], bool]) -> Iterator[None]:
    """One conversion at a time (the tools keep state for the whole process), in silence; all is put back afterwards.

    Raises:
        Cancelled: `cancelled` said so while another conversion was under way.
    """
    while not _turn.acquire(timeout=0.1):
        stop_if(cancelled)
    try:
        stop_if(cancelled)
        with _silence():
            yield
    finally:
        _turn.release()


def stop_if(cancelled: Callable[[], bool]) -> None:
    """Raise `Cancelled` if the user asked for it."""
    if cancelled():
        raise Cancelled("The conversion was cancelled; nothing was written.")


@contextmanager
def _silence() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with (
            warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()),
            torch.random.fork_rng(devices=[]),  # some of them draw from torch's own generator
        ):  # fmt: skip
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def first_line(error: BaseException) -> str:
    """What went wrong at the bottom, in one short line without a full stop."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0].rstrip(".")[:120]
