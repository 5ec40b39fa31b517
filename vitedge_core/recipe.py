"""A recipe: which model, and which methods with which knobs are applied to it, in order. A tiny immutable value."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import zlib
from dataclasses import dataclass, replace
from typing import Any

from vitedge_core.errors import VitEdgeError

Scalar = bool | int | float | str
MAX_STEPS = 12
MAX_TOKEN = 4_096  # characters of a link token
MAX_JSON = 16_384  # bytes it may unfold to
MAX_TEXT = 200  # characters of a name or a textual knob
_VERSION = 1


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise VitEdgeError(f"The recipe's {what} must be a text of 1 to {MAX_TEXT} printable characters.")
    return value


def _scalar(name: str, value: object) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        raise VitEdgeError(f"The knob {name} must be a finite number, not {value}.")
    if isinstance(value, str):
        return _text(value, f"knob {name}") if value else value
    if not isinstance(value, bool | int | float):
        raise VitEdgeError(f"The knob {name} must be a number, a text or true/false, not {type(value).__name__}.")
    if isinstance(value, int) and abs(value) > 2**53:
        raise VitEdgeError(f"The knob {name} is too large a number.")
    return value


@dataclass(frozen=True, slots=True)
class Step:
    """One method with its knobs; knobs left out keep their defaults. A step can be switched off and keep its place."""

    technique: str
    params: tuple[tuple[str, Scalar], ...] = ()
    enabled: bool = True

    @classmethod
    def of(cls, technique: str, /, *, enabled: bool = True, **knobs: Scalar) -> Step:
        """`Step.of("tome", r=8)`; the order of the knobs never matters."""
        return cls(technique, tuple(sorted(knobs.items())), enabled)

    @property
    def knobs(self) -> dict[str, Scalar]:
        """The knobs by name."""
        return dict(self.params)

    def with_knob(self, name: str, value: Scalar) -> Step:
        """The same step with one knob set."""
        return Step(self.technique, tuple(sorted({**self.knobs, name: value}.items())), self.enabled)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain: dict[str, Any] = {"technique": self.technique, "params": dict(self.params)}
        return plain if self.enabled else {**plain, "enabled": False}

    @classmethod
    def from_dict(cls, plain: object) -> Step:
        """The step such values describe; anything else is refused."""
        if not isinstance(plain, dict) or not set(plain) <= {"technique", "params", "enabled"}:
            raise VitEdgeError('A step of a recipe must look like {"technique": ..., "params": {...}}.')
        params = plain.get("params", {})
        if not isinstance(params, dict) or len(params) > 64:
            raise VitEdgeError("The params of a step must be an object of at most 64 knobs.")
        enabled = plain.get("enabled", True)
        if not isinstance(enabled, bool):
            raise VitEdgeError('"enabled" of a step must be true or false.')
        knobs = sorted((_text(k, "knob name"), _scalar(k, v)) for k, v in params.items())
        return cls(_text(plain.get("technique"), "technique"), tuple(knobs), enabled)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A model's name, the steps in order, and the seed of everything random."""

    model: str
    steps: tuple[Step, ...] = ()
    seed: int = 0

    @property
    def active(self) -> tuple[Step, ...]:
        """The steps that are switched on."""
        return tuple(step for step in self.steps if step.enabled)

    @property
    def baseline(self) -> Recipe:
        """The same model with nothing done to it."""
        return replace(self, steps=())

    @property
    def prefixes(self) -> tuple[Recipe, ...]:
        """The recipe cut after 0, 1, 2, ... active steps; the first is the baseline."""
        active = self.active
        return tuple(replace(self, steps=active[:count]) for count in range(len(active) + 1))

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal characters that name what is computed; steps switched off do not count."""
        plain = replace(self, steps=self.active).to_dict()
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "version": _VERSION, "model": self.model, "seed": self.seed,
            "steps": [step.to_dict() for step in self.steps],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, plain: object) -> Recipe:
        """The recipe such values describe; anything else is refused in one sentence."""
        if not isinstance(plain, dict) or "model" not in plain:
            raise VitEdgeError('A recipe must be an object with "model" and "steps".')
        extra = set(plain) - {"version", "model", "seed", "steps"}
        if extra:
            raise VitEdgeError(f"The recipe holds {min(map(str, extra))[:40]!r}, which no recipe has.")
        if plain.get("version", _VERSION) != _VERSION:
            raise VitEdgeError(f"The recipe is of another version than {_VERSION}; open it with its own VitEdge.")
        steps, seed = plain.get("steps", []), plain.get("seed", 0)
        if not isinstance(steps, list) or len(steps) > MAX_STEPS:
            raise VitEdgeError(f"The steps of a recipe must be a list of at most {MAX_STEPS}.")
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise VitEdgeError("The seed of a recipe must be a whole number from 0 to 2147483647.")
        return cls(_text(plain["model"], "model"), tuple(map(Step.from_dict, steps)), seed)

    def to_json(self) -> str:
        """The recipe as a small readable file."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str | bytes) -> Recipe:
        """Read `to_json`'s text, from a file or from a stranger."""
        if len(text) > MAX_JSON:
            raise VitEdgeError(f"A recipe file has at most {MAX_JSON:,} bytes; this one has {len(text):,}.")
        try:
            return cls.from_dict(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise VitEdgeError("This is no recipe file: it is not JSON.") from error

    def to_token(self) -> str:
        """The recipe as text that fits into a link."""
        plain = json.dumps(self.to_dict(), separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(zlib.compress(plain, 9)).decode().rstrip("=")

    @classmethod
    def from_token(cls, token: str) -> Recipe:
        """Read `to_token`'s text. The token comes from a stranger: its size and what it unfolds to are limited."""
        damaged = VitEdgeError("This link is damaged; ask for it again, or build the recipe on the Build page.")
        if len(token) > MAX_TOKEN:
            raise VitEdgeError(f"This link is too long for a recipe: {len(token):,} characters, at most {MAX_TOKEN:,}.")
        try:
            packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            unpacker = zlib.decompressobj()
            plain = unpacker.decompress(packed, MAX_JSON)
        except (binascii.Error, ValueError, zlib.error) as error:
            raise damaged from error
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise damaged
        try:
            return cls.from_json(plain)
        except VitEdgeError as error:
            raise VitEdgeError(f"This link holds no recipe. {error}") from error
