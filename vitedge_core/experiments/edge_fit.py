"""Fits the hyperparameters of the latency model to the published rows (`make edge-fit`).

They are how much each level of sharing varies and how fast curves bend; scikit-learn maximises their marginal
likelihood (Rasmussen and Williams, section 5.4.1), from where the last fit ended. Minutes; the file is reviewed like
code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor

from vitedge_core.cost.edge_kernels import kernel
from vitedge_core.cost.edge_model import KERNEL, LatencyModel
from vitedge_core.cost.edge_rows import rows

STEPS = 40


def fit(path: Path = KERNEL, steps: int = STEPS) -> Path:
    """Write the hyperparameters that make the published rows most likely.

    Args:
        path: The file to write.
        steps: Iterations at most.
    """
    model = LatencyModel([row.example for row in rows()])
    start = kernel()
    start.theta = np.log(json.loads(KERNEL.read_text(encoding="utf-8"))["hyperparameters"])

    def climb(goal: object, first: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, float]:
        from scipy.optimize import minimize

        found = minimize(goal, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps})
        return found.x, found.fun

    process = GaussianProcessRegressor(start, alpha=1e-8, optimizer=climb)  # type: ignore[arg-type]
    fitted: Any = process.fit(model.table(model.examples), model.logs - model.logs.mean())
    figures = [float(f"{value:.3g}") for value in np.exp(fitted.kernel_.theta)]
    likelihood = round(float(fitted.log_marginal_likelihood_value_), 1)
    text = json.dumps({"rows": len(model.examples), "log_marginal_likelihood": likelihood, "hyperparameters": figures})
    path.write_text(f"{text}\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    fit()
