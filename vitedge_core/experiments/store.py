"""The one place where runs and jobs are kept: an Optuna storage, SQLite in the user's folder or any database URL."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vitedge_core.errors import VitEdgeError
from vitedge_core.storage import data_folder

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

Direction = Literal["maximize", "minimize"]
_RUNS: tuple[Direction, ...] = ("maximize", "minimize")
_LOCK_SECONDS = 60  # how long a process waits for another one's write
_MADE_BY_ANOTHER = ("already exists", "unique constraint", "duplicate key")  # words of a database that we came second
_opening = threading.Lock()  # two threads would both create the tables


def storage_url() -> str:
    """The database's URL: `VITEDGE_STORAGE`, else an SQLite file in the user's data folder."""
    return os.environ.get("VITEDGE_STORAGE") or f"sqlite:///{data_folder() / 'runs.db'}"


def storage(url: str | None = None) -> BaseStorage:
    """The open store; one connection pool and one cache of finished trials per process and URL.

    Raises:
        VitEdgeError: The URL is wrong, the database is out of reach, or the file is no database.
    """
    with stored(), _opening:
        return _open(url or storage_url())


def study(
    name: str,
    url: str | None = None,
    *,
    create: bool = False,
    directions: Sequence[Direction] = ("maximize", "minimize"),
) -> Study:
    """A study: objectives are accuracy, to be maximised, and MACs, to be minimised, unless `directions` says otherwise.

    Raises:
        VitEdgeError: There is none of that name and `create` is false.
    """
    import optuna

    sampler = optuna.samplers.RandomSampler(0)  # only asked when a queue has run dry
    where = storage(url)
    with stored():
        try:
            return optuna.load_study(study_name=name, storage=where, sampler=sampler)
        except KeyError as error:
            if not create:
                raise VitEdgeError(f"There is no study {name[:80]!r} in {_shown(url or storage_url())}.") from error
            return optuna.create_study(
                study_name=name, storage=where, sampler=sampler, load_if_exists=True,
                directions=list(directions),
            )  # fmt: skip


@contextmanager
def stored() -> Iterator[None]:
    """Turn what a database can do to us into one sentence; what was stored before stays."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    trouble = (SQLAlchemyError, sqlite3.Error, optuna.exceptions.StorageInternalError)
    try:
        yield
    except trouble as error:
        cause = error.__cause__ or error
        reason = str(getattr(cause, "orig", None) or cause).splitlines()[0]
        raise VitEdgeError(
            f"The store of runs cannot be used ({_shown(reason)}); what was measured before is kept. "
            "Check the disk, or VITEDGE_STORAGE."
        ) from error


@lru_cache(maxsize=8)
def _open(url: str) -> BaseStorage:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # one line per trial is for people at a terminal
    options: dict[str, object] = {}
    if url.startswith("sqlite:///"):
        _prepare_sqlite(Path(url.removeprefix("sqlite:///")))
        options = {"connect_args": {"timeout": _LOCK_SECONDS}}
    for attempt in range(5):
        try:
            return optuna.storages.get_storage(optuna.storages.RDBStorage(url, engine_kwargs=options))
        except ImportError as error:
            raise VitEdgeError(
                f"The driver for {_shown(url)} is not installed; for PostgreSQL: pip install psycopg2-binary."
            ) from error
        except RuntimeError as error:
            raise VitEdgeError(f"{_shown(url)} was written by another version of Optuna; use another store.") from error
        except Exception as error:  # two processes that create the tables at once: the slower one finds them there
            if attempt == 4 or not any(words in str(error).lower() for words in _MADE_BY_ANOTHER):
                raise
            time.sleep(0.2 * (attempt + 1))
    raise AssertionError


def _prepare_sqlite(path: Path) -> None:
    """Write-ahead log: readers never wait for a writer, and a killed process leaves a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=_LOCK_SECONDS)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _shown(text: str) -> str:
    """Without the password that a URL may hold."""
    return re.sub(r"://[^@/\s]*@", "://…@", text)[:200]
