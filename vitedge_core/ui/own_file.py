"""A file of yours: an exported model is uploaded, measured in the background beside PyTorch, and kept nowhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Quantity
from vitedge_core.experiments.evaluation import QUICK
from vitedge_core.experiments.measure_file import FIGURES, measure_file
from vitedge_core.text.human import human, interval
from vitedge_core.ui import cache, measuring, quantity, state, waiting
from vitedge_core.ui.recipe_editor import plain
from vitedge_core.ui.words import of_recipe
from vitedge_core.ui.worker import Work

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile

    from vitedge_core.recipe import Recipe

PURPOSE = "own-file"
ENDINGS = ("onnx", "zip", "xml", "bin")
MAX_MB = 400  # of all parts: an upload stays in memory until it is measured
_WHY = (
    f"Accuracy on at most {QUICK} images, then latency in turn with the same recipe in PyTorch: seconds where the "
    "model is small."
)


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured of a file, without the model in it. recipe: what the file says was done, if it says so."""

    name: str
    form: str
    recipe: Recipe | None
    n: int
    figures: Mapping[str, Quantity]
    notes: tuple[str, ...]


def section(model: str) -> None:
    """The upload, and what was measured of it; `model` is whose images a file takes that does not say."""
    st.subheader("A file of yours", anchor=False)
    files = st.file_uploader(
        f"An exported model: .onnx, a package (.zip), or OpenVINO (.zip, or .xml with its .bin), at most {MAX_MB} MB",
        type=list(ENDINGS), accept_multiple_files=True, key="own-file", max_upload_size=MAX_MB,
        help="Opened as data: nothing in it is unpickled or executed as Python. A .pt2 or .pte cannot be opened so.",
    )  # fmt: skip
    if not files:
        cache.leave_but(purposes=(PURPOSE,))
        st.caption("It is measured and then forgotten. One that says nothing of itself is compared with "
                   f"{plain(model)}, the model chosen in Build.")  # fmt: skip
        return
    main = _main(files)
    images = state.images()
    key = (PURPOSE, tuple(file.file_id for file in files), model, images)
    found = waiting.result_of(key, _work(files, main, model, images), "Measure the file", _WHY)
    if found is not None:
        _draw(found)


def _main(files: Sequence[UploadedFile]) -> str:
    """The name of the one to open.

    Raises:
        VitEdgeError: They are not one file, nor an .xml and its .bin, or they are too large.
    """
    names = {Path(file.name).suffix.lower(): file.name for file in files}
    pair, alone = set(names) == {".xml", ".bin"}, set(names) <= {".onnx", ".zip"}
    if len(files) != (2 if pair else 1) or not (pair or alone):
        raise VitEdgeError("Upload one .onnx or .zip, or an .xml of OpenVINO together with its .bin, and nothing else.")
    if sum(file.size for file in files) > MAX_MB * 2**20:
        raise VitEdgeError(f"An exported model may have at most {MAX_MB} MB here; `measure --file` takes larger ones.")
    return names.get(".xml", files[0].name)


def _work(files: Sequence[UploadedFile], main: str, model: str, images: str | None) -> Work:
    def work(report: Any, cancelled: Any) -> Found:
        measuring.leave_a_core()
        with TemporaryDirectory(prefix="vitedge-") as scratch:
            place = Path(scratch) / _safe(main)
            for file in files:
                place.with_suffix(Path(file.name).suffix.lower()).write_bytes(file.getbuffer())
            found = measure_file(place, images, model=model, report=report, cancelled=cancelled)
        return Found(place.name, found.loaded.form, found.loaded.recipe, found.n, found.figures, found.notes)

    return work


def _safe(name: str) -> str:
    """A file's name with letters, digits, points and dashes only, whatever the sender called it."""
    path = Path(name)
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '-', path.stem)[:60]}{path.suffix.lower()}"


def _draw(found: Found) -> None:
    said = f": {cache.model_title(found.recipe.model)}, {'; '.join(of_recipe(found.recipe))}" if found.recipe else ""
    st.markdown(plain(f"{found.name} ({found.form}){said}."))
    st.table([_row(name, figure) for name, figure in found.figures.items()], border="horizontal", hide_index=True,
             alt=f"Size, accuracy and latency of {found.name} with their intervals.")  # fmt: skip
    st.caption(plain(" ".join((f"Accuracy on {found.n:,} images.", *found.notes))))


def _row(name: str, figure: Quantity) -> dict[str, str]:
    signed = name == "difference"
    return {
        "Figure": FIGURES[name], "Value": human(figure, signed=signed),
        "95 % interval": interval(figure, signed=signed), "Evidence": quantity.badge(figure.evidence),
        "Source": plain(figure.source),
    }  # fmt: skip
