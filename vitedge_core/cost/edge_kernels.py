"""The covariance of two logarithms of latencies: a sum over what their targets and their networks have in common.

Built from scikit-learn's kernels and two of our own. Imported only by whoever fits, because scikit-learn is heavy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Kernel, Product, Sum, WhiteKernel

DEVICE, CHIP, ENGINE, ARITHMETIC, RUNTIME, PRECISION, THREADS, ERRATIC = range(8)
FIRST_FEATURE = 8
TARGET = (DEVICE, RUNTIME, PRECISION)
_ALONE: tuple[tuple[int, ...], ...] = (
    (DEVICE,), (CHIP,), (ENGINE,), (ARITHMETIC,), (ENGINE, ARITHMETIC), TARGET, (DEVICE, RUNTIME),
)  # fmt: skip
_WITH_FEATURES: tuple[tuple[int, ...], ...] = ((), (ENGINE, ARITHMETIC), (ENGINE,), (ARITHMETIC,), (CHIP,))
_BOUNDS = (1e-3, 1e1)


class Same(Kernel):
    """1 for two rows that agree in all of these columns, else 0."""

    def __init__(self, columns: tuple[int, ...]) -> None:
        self.columns = columns

    def __call__(self, X: Any, Y: Any = None, eval_gradient: bool = False) -> Any:
        """[rows of X, rows of Y]; and how it changes with the hyperparameters, of which it has none."""
        Y = X if Y is None else Y
        agree = np.ones((len(X), len(Y)), bool)
        for column in self.columns:
            agree &= X[:, column][:, None] == Y[:, column][None]
        same = agree.astype(float)
        return (same, np.empty((*same.shape, 0))) if eval_gradient else same

    def diag(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Every row agrees with itself."""
        return np.ones(len(X))

    def is_stationary(self) -> bool:
        """It depends on the rows themselves."""
        return False


class On(Kernel):
    """A kernel that sees the columns from `first` up to `last` only."""

    def __init__(self, kernel: Kernel, first: int, last: int | None = None) -> None:
        self.kernel, self.first, self.last = kernel, first, last

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What scikit-learn needs to copy it."""
        params = {"kernel": self.kernel, "first": self.first, "last": self.last}
        inner = self.kernel.get_params().items() if deep else ()
        return params | {f"kernel__{name}": value for name, value in inner}

    @property
    def hyperparameters(self) -> list[Any]:
        """Those of the kernel inside."""
        return self.kernel.hyperparameters

    @property
    def theta(self) -> NDArray[np.float64]:
        """Logarithms of the free hyperparameters."""
        return self.kernel.theta

    @theta.setter
    def theta(self, theta: NDArray[np.float64]) -> None:
        self.kernel.theta = theta

    @property
    def bounds(self) -> NDArray[np.float64]:
        """Their bounds."""
        return self.kernel.bounds

    def _seen(self, X: Any) -> Any:
        return None if X is None else X[:, self.first : self.last]

    def __call__(self, X: Any, Y: Any = None, eval_gradient: bool = False) -> Any:
        """What the kernel inside says of these columns."""
        return self.kernel(self._seen(X), self._seen(Y), eval_gradient)

    def diag(self, X: NDArray[np.float64]) -> Any:
        """The kernel's own."""
        return self.kernel.diag(self._seen(X))

    def is_stationary(self) -> bool:
        """It depends on the rows themselves."""
        return False


def kernel() -> Kernel:
    """The covariance with hyperparameters to start from.

    A level that all share; a level of its own for each device, chip, engine, arithmetic and target; trends and smooth
    curves over the features, shared by all or by who has the chip, the engine or the arithmetic; a trend over threads;
    noise, and more of it where published figures scatter for no reason that the features know.
    """
    terms: list[Kernel] = [ConstantKernel(10.0, "fixed")]
    terms += [_scaled(0.1, Same(columns)) for columns in _ALONE]
    terms.append(_scaled(0.1, On(_linear(), THREADS, THREADS + 1)))
    for columns in _WITH_FEATURES:
        terms.append(_scaled(0.1, _shared(columns, On(_linear(), FIRST_FEATURE))))
        terms.append(_scaled(0.1, _shared(columns, On(RBF(1.5, (0.3, 5.0)), FIRST_FEATURE))))
    terms.append(WhiteKernel(0.02, (1e-3, 1.0)))
    terms.append(Product(WhiteKernel(0.2, (1e-3, 2.0)), On(_linear(), ERRATIC, ERRATIC + 1)))
    total = terms[0]
    for term in terms[1:]:
        total = Sum(total, term)
    return total


def _scaled(variance: float, inner: Kernel) -> Kernel:
    return Product(ConstantKernel(variance, _BOUNDS), inner)


def _shared(columns: tuple[int, ...], inner: Kernel) -> Kernel:
    return Product(Same(columns), inner) if columns else inner


def _linear() -> Kernel:
    return DotProduct(0.0, "fixed")
