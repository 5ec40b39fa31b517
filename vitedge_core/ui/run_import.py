"""Bringing in runs from a file: an upload, progress with a way to stop, and what came of it."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from vitedge_core.experiments.run_files import MAX_BYTES, WRITERS, Imported, import_runs, read_runs
from vitedge_core.ui import state


def section() -> None:
    """The upload; a file is taken at once, and the place is empty again afterwards."""
    opened = st.expander("Import runs from a file", key="runs-import-place", icon=":material/upload_file:")
    with opened:
        st.caption(
            "JSON, CSV or Parquet that was exported here or elsewhere. Every value is checked; the figures are marked "
            "as imported and never stand in for a measurement of your own. What is known already stays as it is."
        )
        file = st.file_uploader("File with runs", type=list(WRITERS), key=_key(), max_upload_size=MAX_BYTES // 10**6)
        if file is not None:
            done = _import(file.getvalue())
            st.toast(done.sentence, icon=":material/upload_file:")
            _finish()
            st.rerun()


def _import(data: bytes) -> Imported:
    """Import under a bar; a click on Stop ends this run of the page, and what was stored stays."""
    place = st.container(horizontal=True, vertical_alignment="center")
    with place:
        bar = st.progress(0.0, text="Checking the file")
        st.button("Stop", key="runs-import-stop", icon=":material/stop_circle:", type="tertiary", on_click=_stop)
    try:
        return import_runs(read_runs(data), report=lambda share, sentence: _show(bar, share, sentence))
    finally:
        place.empty()


def _show(bar: DeltaGenerator, share: float, sentence: str) -> None:
    bar.progress(share, text=sentence)


def _stop() -> None:
    state.notice("The import was stopped; what it stored is kept, and the same file again brings the rest.")
    _finish()


def _finish() -> None:
    """A new key empties the uploader, so that the same file can come again."""
    state.remember("runs-files", state.recall("runs-files", 0) + 1)


def _key() -> str:
    return f"runs-file-{state.recall('runs-files', 0)}"
