"""Turns a model into one C++ program with PyTorch's AOTInductor, in a process of its own.

A compilation takes a minute and cannot be asked to stop, and one that is killed may leave half a file in inductor's
cache, over which every later one would stumble. So it runs in a child with a cache of its own, in a folder that goes
whatever happens. The child leaves one file, which opens in a fraction of a second: to fill a cache there and compile
from it here would take half a minute here, since inductor keeps nothing of what it freezes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vitedge_core.backends import ahead_process
from vitedge_core.backends.ahead_process import COMPILED, PROBLEM, SETTINGS, TRACED
from vitedge_core.backends.base import Artefact, Engine, Runner, Source
from vitedge_core.errors import VitEdgeError
from vitedge_core.models.build import first_line

USUAL = 60.0  # seconds a compilation takes on an idle core; seen were 20 to 100
LIMIT = 1_800.0  # seconds after which nobody believes in it any more
LARGEST_BATCH = 4_096
_POLL = 0.1


def no_compiler(title: str) -> str | None:
    """None where there is a C++ compiler; else the sentence that says how to get one."""
    name = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name):
        return None
    way = "xcode-select --install" if sys.platform == "darwin" else "apt install g++ on Debian and Ubuntu"
    return f"{title} needs a C++ compiler and {name} is not found here; install it ({way}) or name another in CXX."


@dataclass(frozen=True)
class AheadEngine(Engine):
    """An engine whose models are compiled here, so it needs a C++ compiler beside its Python modules."""

    waits: ClassVar[bool] = True

    def missing(self) -> str | None:
        """None, or the first thing that is not there."""
        return super().missing() or no_compiler(self.title)


class AheadRunner(Runner):
    """Calls a compiled model, which itself would take any images for those it was compiled for."""

    def __init__(self, made: AheadArtefact, threads: int, batch: int) -> None:
        self._made, self.threads, self.batch = made, threads, batch

    def __call__(self, images: Tensor) -> Tensor:
        """[B, 3, height, width] -> [B, K]."""
        if images.shape[1:] != self._made.image or self._made.fixed not in {None, len(images)}:
            raise ValueError(f"compiled for images of {self._made.image}, not {tuple(images.shape)}")
        with torch.inference_mode():
            return self._made.loader.boxed_run([images.contiguous()])[0]


@dataclass(frozen=True)
class AheadArtefact(Artefact):
    """A compiled model in memory.

    loader: of PyTorch. image: shape of one. fixed: the only batch size it takes; None where it takes any.
    """

    loader: Any
    image: tuple[int, ...]
    fixed: int | None
    bytes: int
    facts: tuple[str, ...]
    seconds: float

    def open(self, threads: int = 1, batch: int = 1) -> AheadRunner:
        """Ready at once.

        Raises:
            VitEdgeError: The model could only be compiled for another batch size.
        """
        if self.fixed not in {None, batch}:
            raise VitEdgeError(
                f"This model could only be compiled for batches of {self.fixed}, not of {batch}; choose another "
                "engine for these."
            )
        return AheadRunner(self, threads, batch)


def compile_ahead(
    source: Source, module: nn.Module, *, freezing: bool, facts: Callable[[Counter[str]], tuple[str, ...]]
) -> AheadArtefact:
    """Compile a module that nobody else uses.

    Args:
        source: Its example, its ways to report and to be cancelled.
        module: In eval mode; images [B, 3, height, width] to logits [B, K], both float32.
        freezing: Whether weights become constants, laid out once as the kernels like them. What is computed from
            weights alone is then computed once, and stored as it results.
        facts: From the library calls in the C++ program, by name and how many, to what really runs in it.

    Raises:
        VitEdgeError: The compiler does not take it, or was killed.
        Cancelled: Nothing is left of it, no file and no process.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vitedge-compile-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        source.report(0.0, "Tracing the model.")
        fixed = _trace(module, source, folder / TRACED)
        (folder / SETTINGS).write_text(json.dumps({"freezing": freezing}), encoding="utf-8")
        source.check_cancelled()
        with _child(folder) as child:
            _follow(child, source)
        _check(child.returncode, folder)
        compiled = folder / COMPILED
        told, loader = facts(_calls(compiled)), _loaded(compiled, folder / "unpacked")
        source.report(1.0, "Compiled.")
        image = tuple(source.example.shape[1:])
        return AheadArtefact(loader, image, fixed, compiled.stat().st_size, told, time.monotonic() - start)


def _trace(module: nn.Module, source: Source, path: Path) -> int | None:
    """Write the module as a graph with its weights, for any batch; returns the one batch size if that was impossible.

    A program for any batch was at most 4 % slower than one for single images (DeiT-Tiny; float32, bfloat16, int8), and
    another batch would cost another minute. Two images stand for "any number": PyTorch takes a size of one for fixed.
    """
    any_batch = {0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)}
    attempts = ((torch.cat([source.example] * 2), (any_batch,), None), (source.example, None, len(source.example)))
    problem: Exception | None = None
    for example, shapes, fixed in attempts:
        source.check_cancelled()
        try:
            with torch.no_grad():
                torch.export.save(torch.export.export(module, (example,), dynamic_shapes=shapes), path)
        except Exception as error:  # noqa: BLE001  tracing runs the model's own code and may raise anything
            problem = error
            continue
        return fixed
    assert problem is not None
    raise VitEdgeError(
        f"PyTorch cannot trace this model to compile it ({first_line(problem)[:300].rstrip('.')}); choose an engine "
        "that runs it as it is, such as PyTorch, eager."
    ) from problem


@contextmanager
def _child(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The compiling process, in a group of its own with the compilers it starts; none of them outlives the block."""
    (folder / "tmp").mkdir()
    environment = {
        **os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache"), "TMPDIR": str(folder / "tmp"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # its helpers would be in groups of their own
    }  # fmt: skip
    # -P: the file's own folder, where a torchao.py lies, is no place to import from
    command = [sys.executable, "-P", str(Path(ahead_process.__file__).resolve()), str(folder)]
    try:
        with (folder / "log.txt").open("wb") as log:
            child = subprocess.Popen(  # noqa: S603  our own interpreter, a list of arguments, no shell
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
                cwd=folder, env=environment,
            )  # fmt: skip
    except OSError as error:
        raise VitEdgeError(f"The compiling process could not be started: {error.strerror}.") from error
    try:
        yield child
    finally:
        if child.poll() != 0:  # still at work, or dead and survived by a compiler it had started
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        assert child.stdin is not None
        child.stdin.close()


def _follow(child: subprocess.Popen[bytes], source: Source) -> None:
    """Report until the child has ended."""
    start = time.monotonic()
    while child.poll() is None:
        source.check_cancelled()
        passed = time.monotonic() - start
        if passed > LIMIT:
            raise VitEdgeError(f"Compiling took more than {LIMIT / 60:.0f} minutes and was given up.")
        # never quite there: a busy machine takes longer than usual
        source.report(passed / (passed + USUAL / 2), f"Compiling since {passed:.0f} s; 20 to 100 s are usual.")
        time.sleep(_POLL)


def _check(code: int, folder: Path) -> None:
    """Raise what the child has to say if it failed."""
    if code == 0 and (folder / COMPILED).is_file():
        return
    if code < 0:
        raise VitEdgeError(
            f"The compiling process was killed (signal {-code}), which happens when memory runs out; close other "
            "programs and try again, or choose an engine that does not compile."
        )
    problem = folder / PROBLEM
    said = problem.read_text(encoding="utf-8") if problem.is_file() else f"it ended with {code} and said nothing."
    raise VitEdgeError(f"PyTorch's compiler does not take this model: {said.rstrip('.')}; choose another engine.")


def _loaded(package: Path, room: Path) -> Any:
    """The compiled model in memory; its files may go afterwards.

    Unpacked by ourselves: the public way would do it in a folder that stays if this process is killed. PyTorch before
    2.14 may know no other.
    """
    with zipfile.ZipFile(package) as archive:
        archive.extractall(room)  # our own child's file
    (unpacked,) = room.iterdir()
    arguments = {"run_single_threaded": False, "num_runners": 1, "device_index": -1}
    try:
        return torch._C._aoti.AOTIModelPackageLoader(str(unpacked), "model", *arguments.values())  # type: ignore[attr-defined]  # noqa: SLF001
    except RuntimeError:
        return torch._inductor.aoti_load_package(str(package), **arguments).loader  # noqa: SLF001  its documented place


def _calls(package: Path) -> Counter[str]:
    """The calls of library kernels that stand in the C++ program of a compiled model."""
    with zipfile.ZipFile(package) as archive:
        texts = [archive.read(name).decode("utf-8", "replace") for name in archive.namelist() if name.endswith(".cpp")]
    return Counter(name for text in texts for name in re.findall(r"\baoti_torch_cpu_(\w+)\(", text))


def total(calls: Counter[str], *beginnings: str) -> int:
    """How many calls have a name that begins so."""
    return sum(count for name, count in calls.items() if name.startswith(beginnings))
