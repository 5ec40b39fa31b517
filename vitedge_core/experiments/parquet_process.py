"""The process that opens a stranger's Parquet file: `python -P parquet_process.py ROWS CHARACTERS BYTES`.

Parquet is packed: a few bytes can stand for gigabytes, and what it says of its own sizes need not be true. So the file
is unfolded here, where it can take little memory and time, and harm nobody if it ends this process. Read from standard
input, written to standard output as CSV: the columns `run` and `tags`, no more rows than one beyond ROWS. Where it is
no Parquet, has more CHARACTERS, or takes more BYTES of address space, the exit status says so. macOS does not keep the
limit of memory; the others hold.
"""

from __future__ import annotations

import csv
import io
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress

COLUMNS = ("run", "tags")
SECONDS = 30  # of processor time
_AT_ONCE = 64  # rows


def main(rows: int, characters: int, memory: int) -> int:
    """Unfold standard input; 0 if it worked."""
    _limit(memory)
    try:
        text = _csv(sys.stdin.buffer.read(), rows, characters)
    except Exception:  # noqa: BLE001  whatever damaged bytes make a decoder raise
        return 1
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
    return 0


def _limit(memory: int) -> None:
    for what, most in {
        resource.RLIMIT_AS: memory, resource.RLIMIT_CPU: SECONDS, resource.RLIMIT_CORE: 0,
    }.items():  # fmt: skip
        with suppress(ValueError, OSError):  # the system has a lower one, or none of this kind
            resource.setrlimit(what, (most, most))
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # others reserve more than the limit at once


def _csv(data: bytes, rows: int, characters: int) -> bytes:
    """The two columns as CSV; a value that is no text becomes an empty one.

    Raises:
        ValueError: They have more characters than allowed.
    """
    from pyarrow import parquet

    file = parquet.ParquetFile(io.BytesIO(data))
    names = [name for name in COLUMNS if name in file.schema_arrow.names]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names or ["nothing"])
    for number, row in enumerate(_rows(file, names) if names else ()):
        characters -= sum(map(len, row))
        if characters < 0:
            raise ValueError("too many characters")
        writer.writerow(row)
        if number == rows:
            break
    return text.getvalue().encode()


def _rows(file: object, names: list[str]) -> Iterator[list[str]]:
    for batch in file.iter_batches(_AT_ONCE, columns=names, use_threads=False):  # type: ignore[attr-defined]
        for row in zip(*(batch.column(name) for name in names), strict=True):
            values = (value.as_py() for value in row)
            yield [value if isinstance(value, str) else "" for value in values]


if __name__ == "__main__":
    # at once: while Python tidies up, a thread of Arrow that is just starting aborts one such process in a hundred
    os._exit(main(*map(int, sys.argv[1:])))
