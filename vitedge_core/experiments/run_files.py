"""Runs as files, JSON, CSV and Parquet, to take away and to bring in.

Each row or entry holds the whole run, so what was exported comes back as it was. In the tables that is the column
`run`; the other columns are for reading. The packed pages of Parquet can unfold to anything, so another process with
little memory makes a CSV of them first.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.experiments import parquet_process, run_notes
from vitedge_core.experiments.points import flat
from vitedge_core.experiments.run_checks import checked
from vitedge_core.experiments.run_list import Entry
from vitedge_core.experiments.runs import Run, kept, record

FORMAT = "vitedge runs"
VERSION = 1
MAX_BYTES = 40_000_000
MAX_RUNS = 5_000
MAX_RUN = 65_536  # characters of one run
UNFOLD_MEMORY = 2**30  # bytes of address space that a Parquet file may take; a third is gone before it is opened
UNFOLD_SECONDS = 120.0  # that a Parquet file may take on a busy machine
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would carry out

Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A run of a file that was checked, and its tags there."""

    run: Run
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: runs that are new, that were there, and that were deleted here and are back."""

    new: int
    known: int
    restored: int

    @property
    def sentence(self) -> str:
        """It in words."""
        parts = [f"{self.new} imported"]
        parts += [f"{self.known} known already"] if self.known else []
        parts += [f"{self.restored} brought back that had been deleted"] if self.restored else []
        return f"Runs: {', '.join(parts)}."


def to_json(entries: Sequence[Entry]) -> bytes:
    """The runs as one JSON object, with their tags."""
    runs = [{"run": entry.run.to_dict(), "tags": list(entry.tags)} for entry in entries]
    return json.dumps({"format": FORMAT, "version": VERSION, "runs": runs}, separators=(",", ":")).encode()


def to_csv(entries: Sequence[Entry]) -> bytes:
    """The runs as a table; a text that a spreadsheet would take for a formula gets an apostrophe."""
    rows = [_row(entry) for entry in entries]
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(rows), restval="")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def to_parquet(entries: Sequence[Entry]) -> bytes:
    """The runs as a Parquet table: floats, whole numbers and texts, empty where a run has no such figure."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = [_row(entry) for entry in entries]
    table = pa.table({name: pa.array([row.get(name) for row in rows]) for name in _columns(rows)})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


WRITERS: dict[str, Callable[[Sequence[Entry]], bytes]] = {"json": to_json, "csv": to_csv, "parquet": to_parquet}


def read_runs(data: bytes) -> tuple[Incoming, ...]:
    """The runs of a file that one of `WRITERS` wrote, here or elsewhere; each of them is checked.

    Raises:
        VitEdgeError: It is no such file, too large, or holds a run that is damaged; then nothing of it counts.
    """
    if len(data) > MAX_BYTES:
        raise VitEdgeError(f"A file with runs has at most {MAX_BYTES // 10**6} MB; export fewer runs at a time.")
    if data[:4] == b"PAR1":
        data = _unfolded(data)
    found = []
    for number, (plain, tags) in enumerate(_from_json(data) if data.lstrip()[:1] == b"{" else _from_csv(data), 1):
        if number > MAX_RUNS:
            raise VitEdgeError(f"A file with runs has at most {MAX_RUNS:,}; export fewer at a time.")
        try:
            words = tuple(map(run_notes.checked_tag, tags))[: run_notes.MOST_TAGS]
            found.append(Incoming(checked(plain), words))
        except VitEdgeError as error:
            raise VitEdgeError(f"Run {number} of the file is damaged, so none is imported. {error}") from error
    if not found:
        raise VitEdgeError("The file holds no runs.")
    return tuple(found)


def import_runs(
    incoming: Sequence[Incoming],
    url: str | None = None,
    *,
    report: Report = lambda share, sentence: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Imported:
    """Store the runs that are not there yet; to import the same again changes nothing.

    Raises:
        VitEdgeError: The store is out of reach; what was stored before stays.
        Cancelled: The same.
    """
    here, gone = {one.name for one in kept(url)}, run_notes.notes(url).deleted
    runs = {one.run.name: one for one in incoming}
    new = {name: one for name, one in runs.items() if name not in here | gone}
    back = gone & set(runs)
    if back:
        run_notes.restore(back, url)
    for number, one in enumerate(new.values()):
        report(number / len(new), f"{number} of {len(new)} runs imported")
        if cancelled():
            raise Cancelled(f"{number} of {len(new)} runs were imported; import the file again for the rest.")
        record(one.run, url)
    for words in {one.tags for one in new.values() if one.tags}:
        run_notes.tag([name for name, one in new.items() if one.tags == words], words, url=url)
    return Imported(len(new), len(runs) - len(new) - len(back), len(back))


def _from_json(data: bytes) -> Iterator[tuple[object, Sequence[str]]]:
    top = _loaded(data)
    if not isinstance(top, dict) or top.get("format") != FORMAT:
        raise VitEdgeError("This is no file with runs; export them on the Runs page, or with `runs export`.")
    if top.get("version") != VERSION:
        raise VitEdgeError("The file with runs was written by another version of VitEdge; export it there again.")
    runs = top.get("runs")
    for entry in runs if isinstance(runs, list) else ():
        known = isinstance(entry, dict) and set(entry) <= {"run", "tags"}
        tags = entry.get("tags", []) if known else None
        if not isinstance(tags, list) or not all(isinstance(word, str) for word in tags):
            raise VitEdgeError("The file with runs is damaged: an entry has a run and a list of tags, and no more.")
        yield entry.get("run"), tags


def _from_csv(data: bytes) -> Iterator[tuple[object, Sequence[str]]]:
    try:
        reader = csv.DictReader(io.StringIO(data.decode(), newline=""))
        if "run" not in (reader.fieldnames or ()):
            raise VitEdgeError("This is no file with runs: it is not JSON, nor a table with a column named run.")
        for row in reader:
            text = row["run"] or ""
            if len(text) > MAX_RUN:
                raise VitEdgeError(f"A run has at most {MAX_RUN:,} characters; this file has a longer one.")
            yield _loaded(text), [word for word in (row.get("tags") or "").lstrip("'").split(",") if word.strip()]
    except (UnicodeDecodeError, csv.Error) as error:
        raise VitEdgeError("This is no file with runs: neither JSON nor a table of text.") from error


def _unfolded(data: bytes) -> bytes:
    """A Parquet file as CSV, made by a process of its own."""
    # -P: the file's own folder is no place to import from
    program = [sys.executable, "-P", str(Path(parquet_process.__file__).resolve())]
    command = [*program, *map(str, (MAX_RUNS, MAX_BYTES, UNFOLD_MEMORY))]
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter, a list of arguments, no shell
            command, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=UNFOLD_SECONDS, check=True
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise VitEdgeError(
            f"The Parquet file is damaged, or unfolds to more than {MAX_BYTES // 10**6} MB of runs; export them again, "
            "or fewer at a time."
        ) from error
    return done.stdout


def _loaded(text: str | bytes) -> object:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise VitEdgeError("The file with runs is damaged: it is not JSON throughout.") from error


def _no_number(word: str) -> float:
    raise ValueError(word)


def _row(entry: Entry) -> dict[str, Any]:
    about = {"name": entry.name, **flat(entry.run), "imported": entry.run.imported, "tags": ",".join(entry.tags)}
    return about | {"run": json.dumps(entry.run.to_dict(), separators=(",", ":"))}


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Every column that a row has, the whole run last."""
    return [*(c for c in dict.fromkeys(column for row in rows for column in row) if c != "run"), "run"]


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
