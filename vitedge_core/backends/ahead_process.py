"""The process that compiles a model: `python -P ahead_process.py FOLDER`.

It imports nothing of VitEdge, and PyTorch only once it listens for the end of its parent. It reads FOLDER/`TRACED` and
FOLDER/`SETTINGS` and leaves FOLDER/`COMPILED`, or one sentence in FOLDER/`PROBLEM`. When the process that started it
ends, it removes the folder and ends with all it started.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

_AFTERWARDS = """
import os, shutil, signal, sys, time
os.killpg(int(sys.argv[1]), signal.SIGKILL)
time.sleep(0.5)
shutil.rmtree(sys.argv[2], ignore_errors=True)
"""
TRACED, SETTINGS, COMPILED, PROBLEM = "traced.pt2", "settings.json", "compiled.pt2", "problem.txt"


def main(folder: Path) -> int:
    """Compile what lies in the folder; 0 if it worked."""
    threading.Thread(target=_end_with_the_parent, args=(folder,), daemon=True).start()
    try:
        _compile(folder)
    except Exception as error:  # noqa: BLE001  whatever a compiler of a whole network may raise
        said = (str(error).strip().splitlines() or [""])[0]
        (folder / PROBLEM).write_text(f"{type(error).__name__}: {said}"[:400], encoding="utf-8")
        return 1
    return 0


def _compile(folder: Path) -> None:
    import torch
    from torch._inductor import aoti_compile_and_package, config

    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    program = torch.export.load(folder / TRACED)
    # the number of threads is asked for at run time, not written into the code
    with torch.no_grad(), config.patch({"freezing": settings["freezing"], "cpp.dynamic_threads": True}):
        aoti_compile_and_package(program, package_path=str(folder / COMPILED))


def _end_with_the_parent(folder: Path) -> None:
    """The parent holds the other end of our standard input and never writes: it can only close, by ending."""
    os.read(0, 1)  # not through sys.stdin, whose lock would trouble Python's own end
    # whoever still writes would leave something in a folder that is being removed: first comes the end, from outside
    command = [sys.executable, "-I", "-c", _AFTERWARDS, str(os.getpgrp()), str(folder)]
    subprocess.Popen(command, start_new_session=True, cwd="/")  # noqa: S603  our own interpreter and a list


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
