"""Whether a file answers as the model does: the same classes, and logits that differ by no more than is stated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from vitedge_core.evidence import Evidence, Quantity, wilson


class Limits(NamedTuple):
    """How far logits may be from the model's as a share of the largest, and what share must get the same class."""

    difference: float
    alike: float


FLOATS = Limits(1e-3, 1.0)  # other kernels add in another order: 0.000001 is usual
INTEGERS = Limits(0.05, 0.96)  # integer kernels round sums elsewhere: 0.01 is usual, and a tie may fall otherwise


@dataclass(frozen=True, slots=True)
class Check:
    """Answers of a file beside those of the model, on n images.

    same: on how many both name the same class. difference: the largest difference of a logit, as a share of the largest
    logit of the model; not finite where the file's are not.
    """

    n: int
    same: int
    difference: float
    where: str

    @property
    def figures(self) -> dict[str, Quantity]:
        """For the card, by name."""
        low, high = wilson(self.same, self.n)
        alike = f"{self.same} of {self.n} images of {self.where} get the same class; 95 % Wilson interval"
        apart = f"largest over {self.n} images of {self.where} and all classes"
        return {
            "same_answers": Quantity(self.same / self.n, "share", Evidence.MEASURED, alike, low, high),
            "largest_difference": Quantity.exact(self.difference, "ratio", apart),
        }

    def wrong(self, limits: Limits) -> str | None:
        """None, or how it fails, as the end of a sentence."""
        if not self.difference <= limits.difference:
            apart, allowed = 100 * self.difference, 100 * limits.difference
            return f"gives logits that differ by {apart:.2g} % of the largest, and {allowed:g} % is allowed"
        if self.same < limits.alike * self.n:
            return f"names another class on {self.n - self.same} of {self.n} images"
        return None


def compared(ours: Tensor, theirs: Tensor, where: str) -> Check:
    """Compare logits [n, K] of the model with those of a file; a difference that is no number is infinite."""
    same = int((ours.argmax(1) == theirs.argmax(1)).sum())
    apart = float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1e-12))
    return Check(len(ours), same, apart if apart == apart else float("inf"), where)  # noqa: PLR0124  a number that is none
