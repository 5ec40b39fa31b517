"""What every technique is: a small frozen class with knobs, a card, and two faces, `plan` and `apply`."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from enum import Enum
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from vitedge_core.datasets.batch import Batch
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.plan import Plan
from vitedge_core.recipe import Scalar, Step

Found = TypeVar("Found")


class Family(Enum):
    """The families of the survey, in the order in which pages list them."""

    PRUNING = "Pruning"
    TOKENS = "Token reduction"
    QUANTIZATION = "Quantisation"
    DISTILLATION = "Distillation"
    ATTENTION = "Attention swaps"
    SEARCH = "Search"

    @property
    def order(self) -> int:
        """Place in a list."""
        return list(Family).index(self)


@dataclass(frozen=True, slots=True)
class Card:
    """What the catalogue says of a method; its class docstring (Idea, Cost, When it fails, Reference) is the text.

    reference: authors, short title, venue, year. arxiv: id, where there is one. differs: departures from the paper,
    a sentence each. measured: what it was measured to gain over its own baseline on the bundled model, a sentence.
    calibrates: needs images; trains: needs labelled images and minutes.
    """

    key: str
    title: str
    family: Family
    reference: str
    arxiv: str = ""
    differs: tuple[str, ...] = ()
    measured: str = ""
    calibrates: bool = False
    trains: bool = False


@dataclass(frozen=True, slots=True)
class Knob:
    """A field of a technique that a person sets. Numbers have a range and a step, choices a list.

    blocks: whether the text names blocks, such as "2,5".
    """

    name: str
    default: Scalar
    label: str
    help: str
    low: float | None = None
    high: float | None = None
    step: float | None = None
    options: tuple[str, ...] = ()
    blocks: bool = False

    def check(self, owner: str, value: object) -> Scalar:
        """The value in the knob's own type.

        Raises:
            VitEdgeError: It is outside the range, no option, or of another kind; the sentence says what is allowed.
        """
        where = f"{owner}.{self.name}"
        if self.options and value not in self.options:
            raise VitEdgeError(f"{where} = {_short(value)} is not one of {', '.join(self.options)}.")
        if isinstance(self.default, bool | str):
            if type(value) is not type(self.default):
                kind = "true or false" if isinstance(self.default, bool) else "a text"
                raise VitEdgeError(f"{where} must be {kind}, not {_short(value)}.")
            return value  # type: ignore[return-value]
        return self._number(where, value)

    def _number(self, where: str, value: object) -> Scalar:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise VitEdgeError(f"{where} must be a number from {self.low:g} to {self.high:g}, not {_short(value)}.")
        if isinstance(self.default, int) and value != int(value):
            raise VitEdgeError(f"{where} must be a whole number from {self.low:g} to {self.high:g}, not {value}.")
        if not self.low <= value <= self.high:  # type: ignore[operator]
            raise VitEdgeError(f"{where} = {value:g} is outside {self.low:g} to {self.high:g}.")
        return int(value) if isinstance(self.default, int) else float(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def knob(default: float, low: float, high: float, step: float, *, label: str, help: str) -> Any:
    """A number a person sets with a slider; whole if `default` is."""
    return field(
        default=default, metadata={"knob": {"low": low, "high": high, "step": step, "label": label, "help": help}}
    )


def choice(default: str, *options: str, label: str, help: str) -> Any:
    """One of a few words."""
    return field(default=default, metadata={"knob": {"options": options, "label": label, "help": help}})


def switch(default: bool, *, label: str, help: str) -> Any:
    """Yes or no."""
    return field(default=default, metadata={"knob": {"label": label, "help": help}})


def text(default: str, *, label: str, help: str) -> Any:
    """A free text, such as the name of a model."""
    return field(default=default, metadata={"knob": {"label": label, "help": help}})


def block_list(*, label: str, help: str) -> Any:
    """Numbers of blocks, such as "2,5"; none at first. `named_blocks` reads them."""
    return field(default="", metadata={"knob": {"label": label, "help": help, "blocks": True}})


@dataclass
class Context:
    """What a technique may use besides the model; it owns none of it.

    images: calibration images [n, 3, height, width], normalised for the model; labels: [n] or None.
    stream: endless labelled training batches, from a seed; None where there is no training data.
    teacher: gives a trained teacher by name ("" is the uncompressed model), on the same classes.
    generator: the only source of randomness. report: share done in 0..1 and a sentence. cancelled: asked often.
    shared: what was found out about the model before this step, None where nothing is kept.
    """

    images: Tensor
    labels: Tensor | None = None
    stream: Callable[[int], Iterator[Batch]] | None = None
    teacher: Callable[[str], nn.Module] | None = None
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))
    report: Callable[[float, str], None] = lambda share, sentence: None
    cancelled: Callable[[], bool] = lambda: False
    shared: dict[Any, Any] | None = None

    def once(self, key: object, compute: Callable[[], Found]) -> Found:
        """What `compute` finds out about the model as it is before this step: kept for steps on the same beginnings.

        It must depend on nothing but the model, the calibration images and `key`, and draw no random number.
        """
        if self.shared is None:
            return compute()
        if key not in self.shared:
            self.shared[key] = compute()
        return self.shared[key]

    def check_cancelled(self) -> None:
        """Stop here if the user asked for it."""
        if self.cancelled():
            raise Cancelled

    def tick(self, share: float, sentence: str) -> None:
        """Report the share that is done, and stop here if the user asked for it."""
        self.check_cancelled()
        self.report(share, sentence)

    def ticker(self, sentence: str) -> Callable[[float], None]:
        """What a loop calls with the share it has done, under one sentence."""
        return lambda share: self.tick(share, sentence)


@dataclass(frozen=True)
class Technique(ABC):
    """A compression method: knobs in its fields, `card` as a class attribute.

    A method whose choice depends on weights or images settles it in `decide`, which returns the same technique with
    its choice stored; then `plan` is exact. Before that `plan` gives its best estimate and clears `plan.exact`.
    """

    card: ClassVar[Card]

    @classmethod
    def knobs(cls) -> tuple[Knob, ...]:
        """The knobs in the order in which they are shown."""
        return tuple(
            Knob(name=f.name, default=f.default, **f.metadata["knob"])  # type: ignore[arg-type]
            for f in fields(cls)
            if "knob" in f.metadata
        )

    @classmethod
    def from_knobs(cls, values: Mapping[str, object]) -> Self:
        """The technique with these knobs set and the others at their defaults; unknown or bad ones are refused."""
        known = {k.name: k for k in cls.knobs()}
        for name in values:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}."
                raise VitEdgeError(f"{cls.card.key} has no knob {_short(name)}; {hint}")
        return cls(**{name: known[name].check(cls.card.key, value) for name, value in values.items()})  # type: ignore[arg-type]

    @property
    def step(self) -> Step:
        """The step of a recipe that describes this technique."""
        return Step.of(self.card.key, **{k.name: getattr(self, k.name) for k in self.knobs()})

    def supports(self, plan: Plan) -> str | None:
        """None, or one sentence that says why this method cannot follow what was done so far, and the way out."""
        return None

    def decide(self, model: nn.Module, plan: Plan, context: Context) -> Self:
        """The same technique with every choice settled that depends on weights or images; the model is not changed."""
        return self

    @abstractmethod
    def plan(self, plan: Plan) -> Plan:
        """What becomes of the shapes. Pure and instant."""

    @abstractmethod
    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Carry out the (decided) technique on a model it owns; returns the changed model."""


def settled(technique: Technique, **choices: Any) -> Any:
    """A copy of a frozen technique with its choice fields filled."""
    return dataclasses.replace(technique, **choices)


def named_blocks(numbers: str, plan: Plan, owner: str) -> tuple[int, ...]:
    """The blocks that a knob such as "2,5" names, from 0 and in order; none if it is empty.

    Raises:
        VitEdgeError: The plan has no such block; the sentence says which it has and names the knob, `owner`.
    """
    words = numbers.replace(",", " ").split()
    for word in words:
        if not (word.isascii() and word.isdigit() and int(word[:9]) < len(plan.blocks)):
            known = f"the blocks 0 to {len(plan.blocks) - 1}" if plan.blocks else "no transformer blocks"
            raise VitEdgeError(f"{owner} names {word[:20]!r}; {plan.model} has {known}.")
    return tuple(sorted({int(word) for word in words}))
