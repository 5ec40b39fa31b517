"""The model as a file: choose a form, have it built and checked in the background, save it."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.recipe import Recipe
from vitedge_core.storage import data_folder, written_whole
from vitedge_core.ui import cache, measuring, state
from vitedge_core.ui.measuring import POLL
from vitedge_core.ui.quantity import note
from vitedge_core.ui.units import said
from vitedge_core.ui.worker import Report, Stage, Task, Work

if TYPE_CHECKING:
    from vitedge_core.export.forms import Form, Written

KEPT = 6  # files that stay in the data folder
PURPOSE = "take"


@dataclass(frozen=True, slots=True)
class Kept:
    """A finished file in the data folder and what was found when it was written."""

    path: Path
    written: Written


def choose(recipe: Recipe) -> None:
    """The choice of a form, what it is for, and the way to get it."""
    from vitedge_core.experiments.take_away import unsupported
    from vitedge_core.export import FORMS, form

    titles = {one.key: one.title for one in FORMS}
    picked = st.selectbox("The model as", list(titles), format_func=titles.__getitem__, key="take-form")
    wanted = form(picked)
    st.caption(wanted.purpose)
    problem = wanted.missing() or unsupported(recipe, wanted)
    if problem:
        st.caption(f":material/block: {problem}")
        return
    key = (PURPOSE, picked, recipe.digest, state.images())
    cache.leave_but(key, purposes=(PURPOSE,))
    task = cache.found(key)
    st.fragment(lambda: _file(recipe, wanted, key), run_every=POLL if task and task.active else None)()


def _file(recipe: Recipe, form: Form, key: tuple[Any, ...]) -> None:
    """The button that builds the file, its progress, and then the button that saves it."""
    task = cache.found(key)
    if task is None or task.stage is Stage.CANCELLED or task.unwanted.is_set():
        _offer(recipe, form, key, "Build the file")
    elif task.active:
        _follow(task)
    elif task.stage is Stage.FAILED:
        st.caption(f":red[{task.error}]")
        _offer(recipe, form, key, "Try again")
    elif not task.result.path.is_file():  # cleared to make room for later ones
        cache.worker().forget(key)
        st.rerun()
    else:
        _save(recipe, form, task.result)


def _offer(recipe: Recipe, form: Form, key: tuple[Any, ...], label: str) -> None:
    if st.button(label, key="take-build", icon=":material/inventory_2:", width="stretch"):
        cache.worker().forget(key)
        known = measuring.read(recipe, state.images()).best
        cache.background(key, _work(recipe, form, state.images(), known.to_dict() if known else {}), order=-1)
        st.rerun()
    st.caption(form.lacks)


def _follow(task: Task) -> None:
    st.progress(task.fraction, task.text)
    if st.button("Cancel", key="take-cancel", icon=":material/stop_circle:", type="tertiary"):
        cache.leave_but(purposes=(PURPOSE,))
        st.rerun()


def _save(recipe: Recipe, form: Form, kept: Kept) -> None:
    written = kept.written
    st.download_button(
        f"Save {kept.path.suffix} ({said(written.size)})", kept.path.read_bytes,
        f"{recipe.model.replace('/', '-')}-{recipe.digest[:8]}-{form.key}{kept.path.suffix}",
        "application/octet-stream", key="take-save", icon=":material/download:", on_click="ignore", type="primary",
        width="stretch",
    )  # fmt: skip
    alike, apart = written.check["same_answers"], written.check["largest_difference"]
    note(
        alike.evidence, f"{alike.source.partition(';')[0]}; logits differ by {apart.value:.1g} of the largest at most."
    )
    for sentence in (*written.notes, form.lacks):
        st.caption(sentence)


def _work(recipe: Recipe, form: Form, images: str | None, figures: dict[str, Any]) -> Work:
    def work(report: Report, cancelled: Any) -> Kept:
        from vitedge_core.experiments.take_away import take_away
        from vitedge_core.text.model_card import model_card

        folder = data_folder("packages")
        with TemporaryDirectory(prefix="take-", dir=folder) as scratch:
            made = Path(scratch) / f"model{form.ending}"
            written = take_away(recipe, form, made, images, figures=figures, words=model_card, report=report,
                                cancelled=cancelled)  # fmt: skip
            path = _moved(Path(scratch), made, folder / f"{recipe.digest}-{form.key}")
        old = sorted((file for file in folder.iterdir() if file.is_file()), key=lambda file: file.stat().st_mtime)
        for file in old[:-KEPT]:
            file.unlink(missing_ok=True)
        return Kept(path, written)

    return work


def _moved(folder: Path, made: Path, place: Path) -> Path:
    """One file in the data folder: the one that was made, or a .zip of its parts."""
    parts = sorted(folder.iterdir())
    path = place.with_name(place.name + (made.suffix if len(parts) == 1 else ".zip"))
    with written_whole(path) as temporary:
        if len(parts) == 1:
            shutil.move(made, temporary)
        else:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
                for part in parts:
                    archive.write(part, part.name)
    return path
