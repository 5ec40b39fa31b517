"""What every engine is: it says whether it can run a plan, builds its own form of a model, and opens it for passes.

Three stages, because their costs differ: `missing` and `supports` are instant and import nothing; `build` converts,
calibrates or compiles once, in seconds to a minute; `open` readies the result for a number of threads and a batch size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

from torch import Tensor, nn

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.plan import FLOAT_BITS, Plan

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Source:
    """What an engine builds from; it changes none of it.

    model: after its recipe, in eval mode, on the CPU. example: one prepared image [1, 3, height, width]. calibration:
    gives prepared images [n, 3, height, width] that no accuracy is measured on; only called by what needs them.
    report: share done in 0..1 and a sentence. cancelled: asked often.
    """

    model: nn.Module
    plan: Plan
    example: Tensor
    calibration: Callable[[], Tensor]
    report: Report = lambda share, sentence: None
    cancelled: Callable[[], bool] = lambda: False

    def check_cancelled(self) -> None:
        """Stop here if the user asked for it."""
        if self.cancelled():
            raise Cancelled("Building the engine was cancelled; nothing was written.")


class Runner(ABC):
    """A model ready for passes of one batch size with one number of threads."""

    threads: int
    batch: int

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """Prepared images [batch, 3, height, width] to logits [batch, K], both float32.

        Engines of PyTorch take its global number of threads; the stopwatch sets it. The result may be overwritten by
        the next pass.
        """


class Artefact(ABC):
    """What an engine made of a model.

    bytes: what it takes as a file. facts: what really runs inside, short sentences a person reads beside the figures,
    such as the share of matrix products that are int8. seconds: what building it took.
    """

    bytes: int
    facts: tuple[str, ...]
    seconds: float

    @abstractmethod
    def open(self, threads: int = 1, batch: int = 1) -> Runner:
        """Ready for passes.

        Raises:
            VitEdgeError: The engine cannot run this model with such a batch.
        """


@dataclass(frozen=True)
class Engine(ABC):
    """A runtime with a precision, such as OpenVINO in int8.

    key: URL word, command-line word and test id. title: for people. about: one sentence, what it does and what it
    costs to build. modules: what must be importable. pip: the line that installs them. waits: whether building takes a
    minute even for a small model, so that it starts on a person's word only.
    """

    waits: ClassVar[bool] = False
    key: str
    title: str
    about: str
    modules: tuple[str, ...] = ()
    pip: str = ""

    def missing(self) -> str | None:
        """None where it is installed; else one sentence with the line that installs it. Imports nothing."""
        absent = [name for name in self.modules if find_spec(name) is None]
        if not absent:
            return None
        return f"{self.title} needs {' and '.join(absent)}, which is not installed here; run: {self.pip}"

    def check(self, plan: Plan) -> None:
        """Raise the sentence of `missing` or `supports`, if there is one."""
        why = self.missing() or self.supports(plan)
        if why:
            raise VitEdgeError(why)

    @abstractmethod
    def supports(self, plan: Plan) -> str | None:
        """None, or one sentence that says why it cannot run what this recipe makes, and the way out."""

    def own_step(self, plan: Plan) -> str | None:
        """What it does to the numbers on its own account, as the last step of the recipe in words; None if nothing."""
        return None

    @abstractmethod
    def build(self, source: Source) -> Artefact:
        """Convert, calibrate, compile.

        Raises:
            VitEdgeError: It is not installed or cannot take this model; one sentence.
            Cancelled: `source.cancelled` said so; no file stays behind.
        """


def needs_float_activations(plan: Plan, title: str) -> str | None:
    """For engines that compute in float: weights on a grid are plain numbers to them, rounded activations are not."""
    rounded = {op.a_bits for op in plan.ops if op.a_bits < FLOAT_BITS}
    if not rounded:
        return None
    return (
        f"{title} computes activations in float and this recipe rounds them to {_bits(rounded)}; choose an int8 "
        "engine, or leave the activations in float."
    )


def needs_eight_bits(plan: Plan, title: str) -> str | None:
    """For engines that multiply int8 with the recipe's own scales: 8 bits or float, nothing between."""
    odd = {bits for op in plan.ops for bits in (op.w_bits, op.a_bits)} - {8, FLOAT_BITS}
    if odd:
        return (
            f"{title} has 8-bit kernels and this recipe asks for {_bits(odd)}, for which no engine here has any: its "
            "accuracy is simulated and no speed is claimed."
        )
    if plan.quantised and all(op.a_bits == FLOAT_BITS for op in plan.ops):
        return (
            f"{title} needs 8-bit activations beside the 8-bit weights; set them in the quantisation step, or choose a "
            "float engine."
        )
    return None


def needs_no_rounding(plan: Plan, title: str) -> str | None:
    """For engines that find their scales at run time and cannot take those of a recipe."""
    if not plan.quantised:
        return None
    return (
        f"{title} chooses its own scales while it runs and cannot take the recipe's; take the quantisation step out, "
        "or choose an engine with static int8."
    )


def _bits(found: set[int]) -> str:
    return f"{' and '.join(map(str, sorted(found)))} bits"
