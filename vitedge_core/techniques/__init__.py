"""The catalogue: importing this package registers every technique. One folder per family, one file per method."""

from __future__ import annotations

import importlib
import pkgutil


def _import_all(package: str, path: list[str]) -> None:
    for entry in pkgutil.iter_modules(path):
        name = f"{package}.{entry.name}"
        module = importlib.import_module(name)
        if entry.ispkg:
            _import_all(name, list(module.__path__))


_import_all(__name__, list(__path__))
