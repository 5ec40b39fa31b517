"""Where VitEdge keeps what it computes: one folder of the user's, never the repository."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def data_folder(*parts: str) -> Path:
    """The user's data folder, or a folder inside it; created when absent.

    `VITEDGE_DATA` overrides the platform's usual place for application data.
    """
    override = os.environ.get("VITEDGE_DATA")
    if override:
        root = Path(override).expanduser()
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Application Support" / "vitedge"
    else:
        root = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "vitedge"
    folder = root.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary neighbour of `path` to write to; moved over it only if the block succeeds.

    Two processes that write the same file leave one whole file, and a crash leaves none in halves.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
