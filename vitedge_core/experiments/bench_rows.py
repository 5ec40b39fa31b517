"""What a benchmark finds, as plain values: a row for each recipe, engine, batch and number of threads."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from vitedge_core.evidence import Quantity
from vitedge_core.measure.engine_agreement import EngineAgreement
from vitedge_core.recipe import Recipe

FORMAT = 1


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """How a pass is timed. end_to_end: from the encoded file, decoding and resizing included; else the model only."""

    batch: int = 1
    threads: int = 1
    end_to_end: bool = False

    @property
    def words(self) -> str:
        """It as people say it."""
        images = "one image" if self.batch == 1 else f"{self.batch} images"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{images}, {threads}" + (", decoding included" if self.end_to_end else "")


@dataclass(frozen=True, slots=True)
class Speed:
    """Times of a pass and their ratios to the uncompressed model in eager float32, timed in turn.

    median, slow (95th percentile), cpu (processor time, all threads together), baseline (median of the uncompressed
    model): of a whole batch. ratio: of the times, paired; below 1 is faster. cpu_ratio: of the processor times.
    """

    median: Quantity
    slow: Quantity
    cpu: Quantity
    baseline: Quantity
    ratio: Quantity
    cpu_ratio: Quantity

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {field.name: getattr(self, field.name).to_dict() for field in fields(self)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Speed:
        """Read `to_dict`'s values."""
        return cls(**{name: Quantity.from_dict(value) for name, value in plain.items()})


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where and when: machine, processor, how its frequency is chosen, load before the first round, libraries.

    governor: empty where the system does not tell. time: seconds since 1970. weights: names the trained weights.
    """

    machine: str
    processor: str
    governor: str
    load: float
    versions: tuple[tuple[str, str], ...]
    weights: str
    time: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "versions": dict(self.versions)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Circumstances:
        """Read `to_dict`'s values."""
        return cls(**{**plain, "versions": tuple(sorted(plain["versions"].items()))})


@dataclass(frozen=True, slots=True)
class BenchRow:
    """A recipe in an engine.

    problem: why there are no figures, else empty. build_seconds, bytes (as a file), facts (what really runs inside):
    of what the engine made; own_step: what it did to the numbers on its own account. agreement: with the recipe's eager
    model, change: of the accuracy from the uncompressed model, paired; both None where it was not asked for. images:
    digest of those images. warning: says when the machine was busy.
    """

    recipe: Recipe
    engine: str
    setting: Setting
    circumstances: Circumstances
    problem: str = ""
    speed: Speed | None = None
    build_seconds: Quantity | None = None
    bytes: Quantity | None = None
    facts: tuple[str, ...] = ()
    own_step: str = ""
    agreement: EngineAgreement | None = None
    change: Quantity | None = None
    images: str = ""
    warning: str = ""

    @property
    def flagged(self) -> bool:
        """Whether the engine changes more answers than the accuracy is known to."""
        return self.agreement is not None and self.agreement.flagged

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the store and the command line."""
        parts = ("speed", "build_seconds", "bytes", "agreement", "change")
        nested = {name: part and part.to_dict() for name in parts for part in [getattr(self, name)]}
        return {
            "format": FORMAT, "recipe": self.recipe.to_dict(), "engine": self.engine, "setting": asdict(self.setting),
            "circumstances": self.circumstances.to_dict(), "problem": self.problem, "facts": list(self.facts),
            "own_step": self.own_step, "images": self.images, "warning": self.warning, **nested,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> BenchRow:
        """Read `to_dict`'s values."""
        if plain["format"] != FORMAT:
            raise ValueError("a row of another format")
        readers = {
            "speed": Speed, "build_seconds": Quantity, "bytes": Quantity, "agreement": EngineAgreement,
            "change": Quantity,
        }  # fmt: skip
        nested = {name: plain[name] and kind.from_dict(plain[name]) for name, kind in readers.items()}
        texts = {name: plain[name] for name in ("engine", "problem", "own_step", "images", "warning")}
        return cls(
            recipe=Recipe.from_dict(plain["recipe"]), setting=Setting(**plain["setting"]),
            circumstances=Circumstances.from_dict(plain["circumstances"]), facts=tuple(plain["facts"]),
            **texts, **nested,
        )  # fmt: skip
