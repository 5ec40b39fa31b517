"""The script that goes along with a package and rebuilds its model without VitEdge, and the code that it needs.

`rebuild.py` of this folder is copied as it is. What timm lacks (networks of our own, grids, merging of tokens) follows
in `parts.py`, put together from the very files that compute it here, so that there is one wording of each.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType

from vitedge_core import errors
from vitedge_core.export.structure import Structure
from vitedge_core.models.bundled import architectures
from vitedge_core.surgery import grid, open_attention, tokens

SCRIPT, PARTS = "rebuild.py", "parts.py"
_FUTURE = "from __future__ import annotations"
_HEAD = f'''"""Parts of VitEdge that the model of this folder needs, copied as they are."""

{_FUTURE}
'''


def script_files(structure: Structure) -> dict[str, str]:
    """The script, and its parts where there are any, by name of the file."""
    script = Path(__file__).with_name(SCRIPT).read_text(encoding="utf-8")
    needed = _needed(structure)
    return {SCRIPT: script, **({PARTS: _joined(needed)} if needed else {})}


def _needed(structure: Structure) -> list[ModuleType]:
    """The modules whose code the script cannot do without."""
    merges = bool(structure.merged)
    found = {
        architectures: structure.architecture in architectures.NAMES,
        errors: merges,
        grid: bool(structure.grids),
        open_attention: merges or bool(structure.products),
        tokens: merges,
    }
    return [module for module, wanted in found.items() if wanted]


def _joined(modules: list[ModuleType]) -> str:
    """Their sources one after the other, without what they import from each other."""
    return "\n\n".join([_HEAD, *map(_alone, modules)])


def _alone(module: ModuleType) -> str:
    """The source without imports from VitEdge and from the future, which stand only at the head of a file."""
    source = inspect.getsource(module)
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("vitedge_core", "__future__")):
            assert node.end_lineno is not None
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "\n".join(lines).strip() + "\n"
