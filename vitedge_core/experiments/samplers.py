"""The methods that search a space, all of them Optuna's.

References: Bergstra, Bardenet, Bengio, Kégl, "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011 (TPE); Deb,
Pratap, Agarwal, Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEC 2002; Deb, Jain,
"An evolutionary many-objective optimization algorithm using reference-point-based nondominated sorting approach",
IEEE TEC 2014 (NSGA-III); Ament et al., "Unexpected Improvements to Expected Improvement for Bayesian Optimization",
NeurIPS 2023 (the logarithmic improvement of the Gaussian process).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from vitedge_core.errors import VitEdgeError, unknown

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SMALLEST, LARGEST = 8, 50  # recipes in a generation
GENERATIONS = 10  # that a genetic search should have, if its trials allow for it


@dataclass(frozen=True, slots=True)
class Method:
    """A way to search. lead: what it is good for, in a sentence. needs: packages it cannot do without."""

    key: str
    title: str
    lead: str
    make: Callable[[int, int | None], BaseSampler]
    needs: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse it where a package is missing.

        Raises:
            VitEdgeError: The sentence says what to install.
        """
        missing = [package for package in self.needs if find_spec(package) is None]
        if missing:
            names = " and ".join(missing)
            raise VitEdgeError(f"{self.title} needs {names}: install that with pip, or choose another method.")


def sampler_named(key: str) -> Method:
    """The method of that key.

    Raises:
        VitEdgeError: There is none; the sentence has the nearest.
    """
    if key not in METHODS:
        raise unknown("search method", key, METHODS)
    return METHODS[key]


def _random(trials: int, seed: int | None) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed)


def _tpe(trials: int, seed: int | None) -> BaseSampler:
    from optuna.samplers import TPESampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the two options may change in a later Optuna
        return TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=max(10, min(20, trials // 5))
        )


def _generation(trials: int) -> int:
    return max(SMALLEST, min(LARGEST, trials // GENERATIONS))


def _nsga2(trials: int, seed: int | None) -> BaseSampler:
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(population_size=_generation(trials), seed=seed)


def _nsga3(trials: int, seed: int | None) -> BaseSampler:
    from optuna.samplers import NSGAIIISampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it may change in a later Optuna
        return NSGAIIISampler(population_size=_generation(trials), seed=seed)


def _gp(trials: int, seed: int | None) -> BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, n_startup_trials=max(10, min(20, trials // 5)), warn_independent_sampling=False)


METHODS = {
    method.key: method
    for method in (
        Method("grid", "Every combination", "Measures all of them, one after the other.", _random),
        Method("random", "At random", "Tries any combination; what the others are compared with.", _random),
        Method("tpe", "TPE", "Learns where good recipes lie; the choice for up to a few hundred recipes.", _tpe),
        Method(  # benchmarks/sweeps.py: of 60 recipes, in 8 searches, it was better than at random in 3, TPE in 8
            "nsga2", "NSGA-II", "Crosses and mutates the best recipes; with 60 of them no better than at random here.",
            _nsga2,
        ),
        Method("nsga3", "NSGA-III", "The same for three or more objectives.", _nsga3),
        Method(
            "gp", "Gaussian process", "Learns most from few recipes; slow beyond a few hundred.", _gp,
            ("scipy", "torch"),
        ),
    )
}  # fmt: skip
