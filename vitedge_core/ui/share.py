"""A recipe on its way out: link, Python, command line, the recipe as a file, the compressed weights."""

from __future__ import annotations

import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import streamlit as st

from vitedge_core.recipe import Recipe
from vitedge_core.storage import data_folder, written_whole
from vitedge_core.text.snippets import command, python
from vitedge_core.ui import cache, measuring, state
from vitedge_core.ui.measuring import POLL
from vitedge_core.ui.worker import Report, Stage, Work

KEPT = 6  # packages that stay in the data folder


def bar(recipe: Recipe) -> None:
    """A row of buttons; what they open is drawn only then.

    Args:
        recipe: What can be carried out; the link carries the whole recipe of the page, also what is switched off.
    """
    link = st.popover("Copy link", icon=":material/link:", key="share-link", on_change="rerun")
    code = st.popover("Code", icon=":material/code:", key="share-code", on_change="rerun")
    files = st.popover("Download", icon=":material/download:", key="share-files", on_change="rerun")
    if link.open:
        with link:
            st.caption("Opens this recipe with the same numbers wherever this server can be reached.")
            st.code(state.link(), language=None, wrap_lines=True)
    if code.open:
        with code:
            st.caption("In a script")
            st.code(python(recipe), language="python")
            st.caption("On the command line")
            st.code(command(recipe), language="bash", wrap_lines=True)
    if files.open:
        with files:
            _files(recipe)


def _files(recipe: Recipe) -> None:
    st.download_button(
        "Recipe (JSON)", recipe.to_json(), "recipe.json", "application/json", key="save-recipe",
        icon=":material/description:", on_click="ignore", width="stretch",
    )  # fmt: skip
    missing = cache.without_weights(recipe.model)
    if missing:
        st.caption(missing)
        return
    key = ("package", recipe.digest, state.images())
    task = cache.found(key)
    st.fragment(lambda: _package(recipe, key), run_every=POLL if task and task.active else None)()


def _package(recipe: Recipe, key: tuple[Any, ...]) -> None:
    """The button that builds the weights, its progress, and then the button that saves them."""
    task = cache.found(key)
    if task is None or task.stage is Stage.CANCELLED:
        if st.button(
            "Build the compressed weights", key="build-package", icon=":material/inventory_2:", width="stretch"
        ):
            known = measuring.read(recipe, state.images()).best
            cache.background(key, _work(recipe, state.images(), known.to_dict() if known else {}), order=-1)
            st.rerun()
        st.caption("A zip with model.safetensors, packed at the recipe's bits, the recipe and its card.")
    elif task.active:
        st.progress(task.fraction, task.text)
    elif task.stage is Stage.FAILED:
        st.caption(f":red[{task.error}]")
        if st.button("Try again", key="build-package-again", icon=":material/refresh:"):
            cache.worker().forget(key)
            st.rerun()
    elif not task.result.is_file():  # cleared to make room for later ones
        cache.worker().forget(key)
        st.rerun()
    else:
        st.download_button(
            f"Save the compressed weights ({task.result.stat().st_size / 1e6:.2f} MB)", task.result.read_bytes,
            f"{recipe.model.replace('/', '-')}-{recipe.digest[:8]}.zip", "application/zip", key="save-package",
            icon=":material/download:", on_click="ignore", type="primary", width="stretch",
        )  # fmt: skip


def _work(recipe: Recipe, images: str | None, figures: dict[str, Any]) -> Work:
    def work(report: Report, cancelled: Any) -> Path:
        from vitedge_core.compress import compress, context_for
        from vitedge_core.export.package import write

        done = compress(recipe, context_for(recipe, images), report, cancelled)
        folder = data_folder("packages")
        path = folder / f"{recipe.digest}.zip"
        with written_whole(path) as temporary, TemporaryDirectory() as scratch:
            made = Path(scratch) / "package"
            _zip(write(done.model, done.last, recipe, made, figures, cancelled=cancelled), temporary)
        for old in sorted(folder.glob("*.zip"), key=lambda file: file.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)
        return path

    return work


def _zip(folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # weights do not get smaller by deflating
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
