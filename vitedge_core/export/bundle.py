"""The package as a form: a folder, or the same in one .zip."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from torch import Tensor

from vitedge_core.errors import VitEdgeError
from vitedge_core.export import package
from vitedge_core.export.check import Limits
from vitedge_core.export.forms import Form, Parcel
from vitedge_core.export.loaded import answers_of
from vitedge_core.export.passport import Passport
from vitedge_core.plan import Plan


class Package(Form):
    """Weights at their real bits, recipe, cards, and the script that rebuilds the model without VitEdge."""

    key = "package"
    title = "Package"
    ending = ".zip"
    purpose = (
        "To keep, publish or train on: the smallest file, with recipe, model card and a script of PyTorch and timm."
    )
    lacks = "No runtime opens it by itself; its script builds the model, whose integers are then computed as floats."

    def convert(self, parcel: Parcel) -> Any:
        """Nothing to do: it holds the model as it is."""
        return parcel

    def save(self, converted: Any, passport: Passport, path: Path) -> None:
        """A folder or a .zip, by the ending of the path."""
        parcel: Parcel = converted
        card = {**passport.card, "preparation": passport.plain_preparation}
        folder = path.with_suffix(".folder") if path.suffix == self.ending else path
        package.write(parcel.model, parcel.plan, parcel.recipe, folder, card, words=parcel.words,
                      cancelled=parcel.cancelled)  # fmt: skip
        if folder != path:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # weights do not get smaller by deflating
                for file in sorted(folder.iterdir()):
                    archive.write(file, file.name)
                    file.unlink()
            folder.rmdir()

    def limits(self, plan: Plan) -> Limits:
        """It is the very model."""
        return Limits(0.0, 1.0)

    def answers(self, path: Path, images: Tensor) -> Tensor:
        """Read back with every check a stranger's package gets."""
        return answers_of(path, images)

    def target(self, path: Path) -> Path:
        """A .zip, or a folder that is new, empty or an older package."""
        path = Path(path).expanduser().absolute()
        if path.suffix.lower() == self.ending and not path.is_dir():
            return path
        if path.suffix.lower() in {".onnx", ".xml", ".pt2", ".pte"}:
            raise VitEdgeError(f"A package is a folder or a .zip, which {path.name} is not.")
        return package.free_folder(path)

    def place(self, folder: Path, path: Path) -> None:
        """Move it; an older package makes room."""
        package.move(folder / path.name, path, folder / "old")
