"""Bring your own device: how to calibrate a board, the upload of its file, and the boards that were imported."""

from __future__ import annotations

import streamlit as st

from vitedge_core.cost.calibration import MAX_BYTES, Calibration
from vitedge_core.cost.own_devices import calibrations, keep, remove
from vitedge_core.cost.own_latency import learned, left_out
from vitedge_core.errors import VitEdgeError
from vitedge_core.ui import state

COMMAND = "python -m vitedge_core calibrate --out mine.json"


def section() -> None:
    """Everything about boards of one's own."""
    st.subheader("Bring your own device", anchor=False)
    st.markdown(
        "Run this on the board; it needs only PyTorch and timm, times layers and small networks for about a minute and "
        "a half, and writes one file. Upload it here, and the board stands in the table above."
    )
    st.code(COMMAND, language="bash")
    st.file_uploader(
        "Device file", type="json", key=_upload_key(), on_change=_import, max_upload_size=-(-MAX_BYTES // 2**20),
        help="Read as data, never carried out.", width=520,
    )  # fmt: skip
    for board in calibrations():
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f":material/developer_board: **{board.name}** :gray[{_about(board)}]")
            st.button("Remove", key=f"board-{board.name}", icon=":material/delete:", type="tertiary",
                      on_click=_remove, args=(board.name,))  # fmt: skip


def _about(board: Calibration) -> str:
    """What it is, and how well its networks are predicted from one another."""
    errors = sorted(abs(ratio - 1) for _, ratio in left_out(board))
    return (
        f"{board.processor}, {board.system}, {board.measured}: {len(board.layers)} layers and {len(board.networks)} "
        f"networks. Each network predicted from the others: median error {errors[len(errors) // 2]:.0%}, 80 % within a "
        f"factor of {learned(board).spread:.2f}."
    )


def _upload_key() -> str:
    return f"board-file-{state.recall('board-files', 0)}"


def _import() -> None:
    """Take the uploaded file; a new key empties the uploader, so that the same file can come again."""
    file = state.widget(_upload_key())
    if file is None:
        return
    try:
        found = keep(file.getvalue())
        state.notice(f"{found.name} was imported; it stands first among the devices.")
    except VitEdgeError as error:
        state.notice(str(error))
    state.remember("board-files", state.recall("board-files", 0) + 1)


def _remove(name: str) -> None:
    try:
        remove(name)
    except VitEdgeError as error:
        state.notice(str(error))
