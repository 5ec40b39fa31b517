"""A recipe in the form of an engine, built once and remembered; whatever goes wrong on the way is one sentence."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from vitedge_core.backends import BASELINE, engine
from vitedge_core.backends.base import Artefact, Engine, Runner, Source
from vitedge_core.compress import Compressed, compress, context_for, default_images, matching
from vitedge_core.cost.report import cost
from vitedge_core.datasets.sets import LabelledImages, open_images
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.measure.machine import free_memory
from vitedge_core.models.load import fingerprint, preprocessing
from vitedge_core.plan import Plan
from vitedge_core.recipe import Recipe

Report = Callable[[float, str], None]
Cancel = Callable[[], bool]
MEMORY = 1024 * 2**20  # bytes of artefacts that are remembered
# float32 copies of the weights alive at once while an engine converts: the model, its export, the runtime's own graph,
# and what that compiles or packs
_COPIES = 4


@dataclass(frozen=True, slots=True)
class Built:
    """What an engine made of a recipe. `own_step` is what it did to the numbers on its own account, None if nothing."""

    artefact: Artefact
    done: Compressed
    engine: Engine
    own_step: str | None


def built(
    recipe: Recipe,
    key: str,
    images: str | LabelledImages | None = None,
    *,
    report: Report = lambda share, sentence: None,
    cancelled: Cancel = lambda: False,
) -> Built:
    """The recipe, carried out and brought into the form of an engine; remembered while the program runs.

    Args:
        recipe: Every active step is carried out.
        key: Of the engine.
        images: A set or what `open_images` takes, to calibrate on; by default the model's own. A model without any can
            still be built by an engine that does not calibrate.
        report: Called with the share done in 0..1 and a sentence.
        cancelled: Asked as often as the engine allows; true raises `Cancelled`.

    Raises:
        VitEdgeError: The engine is missing, does not support the recipe, fails, or there is too little memory.
        Cancelled: `cancelled` said so; nothing is remembered.
    """
    chosen, known = engine(key), images_of(recipe.model, images)
    refused = chosen.missing()
    if refused:
        raise VitEdgeError(refused)
    name = (recipe.digest, fingerprint(recipe.model), key, known.digest if known else "")
    return _memory.get(name, cancelled, lambda: _build(recipe, chosen, known, report, cancelled))


def images_of(model: str, images: str | LabelledImages | None) -> LabelledImages | None:
    """The set to calibrate on; None where a model has none and nobody names one."""
    where = images if images is not None else default_images(model)
    opened = open_images(where) if isinstance(where, str) else where
    return None if opened is None else matching(model, opened)


def opened(made: Built, threads: int, batch: int) -> Runner:
    """The artefact ready for passes, tried once.

    Raises:
        VitEdgeError: It cannot run such a batch, or there is too little memory.
    """
    need = cost(made.done.last, batch).peak_memory_bytes.value
    check_memory(made.engine, need, f"run a batch of {batch}")
    with told(made.engine.title, "run this recipe"):
        runner = made.artefact.open(threads, batch)
        runner(example_of(made.done.last, batch))
    return runner


def example_of(plan: Plan, batch: int = 1) -> Tensor:
    """Numbers in the shape of prepared images, [B, 3, height, width], always the same."""
    return torch.randn(batch, *plan.image, generator=torch.Generator().manual_seed(0))


@contextmanager
def told(title: str, what: str) -> Iterator[None]:
    """Whatever a runtime can raise becomes one sentence; what already is one, and a cancellation, pass.

    Args:
        title: Of the engine.
        what: It failed to do, such as "build this recipe".
    """
    try:
        yield
    except VitEdgeError:
        raise
    except MemoryError as error:
        raise _too_little(title, what) from error
    except Exception as error:
        if any(words in str(error).lower() for words in ("alloc", "out of memory", "bad_alloc")):
            raise _too_little(title, what) from error
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise VitEdgeError(f"{title} failed to {what} ({reason}); choose another engine.") from error


def check_memory(which: Engine, need: float, what: str) -> None:
    """Raise the sentence that says how much memory is missing, where the system tells how much is free."""
    free = free_memory()
    if free is not None and need > free:
        raise VitEdgeError(
            f"{which.title} would need about {need / 1e9:.1f} GB of memory to {what} and {free / 1e9:.1f} GB are free; "
            "close other programs, or choose a smaller model or batch."
        )


def _too_little(title: str, what: str) -> VitEdgeError:
    return VitEdgeError(
        f"There was too little memory for {title} to {what}; close other programs, or choose a smaller model or batch."
    )


def _build(recipe: Recipe, which: Engine, images: LabelledImages | None, report: Report, cancelled: Cancel) -> Built:
    context = context_for(recipe, images)
    done = compress(recipe, context, lambda share, text: report(0.4 * share, text), cancelled)
    plan = done.last
    refused = which.supports(plan)
    if refused:
        raise VitEdgeError(refused)
    copies = 1 if which == BASELINE else _COPIES
    check_memory(which, copies * 4 * plan.params, "build this model")
    report(0.4, f"Building for {which.title}")
    source = Source(
        done.model, plan, example_of(plan), lambda: _calibration(recipe.model, images),
        lambda share, text: report(0.4 + 0.6 * share, text), cancelled,
    )  # fmt: skip
    with told(which.title, "build this recipe"):
        artefact = which.build(source)
    if cancelled():
        raise Cancelled
    report(1.0, f"Built for {which.title}.")
    return Built(artefact, done, which, which.own_step(plan))


def _calibration(model: str, images: LabelledImages | None) -> Tensor:
    if images is None:
        raise VitEdgeError(
            f"This engine calibrates on images and there are none for {model}; name a folder of class folders, or set "
            "VITEDGE_IMAGES to one."
        )
    return images.calibration(preprocessing(model)).images


Name = tuple[str, str, str, str]


class _Memory:
    """What was built, the least recently used forgotten beyond `limit` bytes; one caller builds, others wait for it."""

    def __init__(self, limit: int = MEMORY) -> None:
        self.limit = limit
        self._kept: OrderedDict[Name, Built] = OrderedDict()
        self._turns: WeakValueDictionary[Name, threading.Lock] = WeakValueDictionary()
        self._lock = threading.Lock()

    def get(self, name: Name, cancelled: Cancel, build: Callable[[], Built]) -> Built:
        with self._turn(name, cancelled):
            with self._lock:
                if name in self._kept:
                    self._kept.move_to_end(name)
                    return self._kept[name]
            made = build()
            with self._lock:
                self._kept[name] = made
                while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > self.limit:
                    self._kept.popitem(last=False)
            return made

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()

    @contextmanager
    def _turn(self, name: Name, cancelled: Cancel) -> Iterator[None]:
        with self._lock:
            turn = self._turns.setdefault(name, threading.Lock())
        while not turn.acquire(timeout=0.1):
            if cancelled():
                raise Cancelled
        try:
            yield
        finally:
            turn.release()


def _bytes(made: Built) -> int:
    """Of the artefact and of the model it was made from, which is kept beside it."""
    return made.artefact.bytes + 4 * made.done.last.params


_memory = _Memory()
