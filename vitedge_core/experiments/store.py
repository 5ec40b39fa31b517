"""The one place where runs and jobs are kept: an Optuna storage, SQLite in the user's folder or any database URL."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vitedge_core.errors import VitEdgeError
from vitedge_core.storage import data_folder

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, TrialState

Direction = Literal["maximize", "minimize"]
_LOCK_SECONDS = 60  # how long a process waits for another one's write
_MADE_BY_ANOTHER = ("already exists", "unique constraint", "duplicate key")  # words of a database that we came second
_opening = threading.Lock()  # two threads would both create the tables


class StoreError(VitEdgeError):
    """The store is out of reach, full, or no store."""


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
    name: str, url: str | None = None, *, create: bool = False,
    directions: Sequence[Direction] = ("maximize", "minimize"),
) -> Study:  # fmt: skip
    """A study; where it is created, its objectives are accuracy and MACs unless told otherwise.

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


def change_state(study: Study, trial: FrozenTrial, before: TrialState, after: TrialState) -> bool:
    """Change a trial's state if it still is `before`; of several processes that try it one succeeds.

    Optuna itself reads first and writes then, which two processes on one SQLite file can do at the same time.
    """
    from optuna.storages._rdb.models import TrialModel
    from sqlalchemy import update

    values: dict[str, Any] = {"state": after}
    values["datetime_complete" if after.is_finished() else "datetime_start"] = datetime.now()
    backend: Any = study._storage  # noqa: SLF001  the engine is reached in no other way
    with stored(), backend._backend.engine.begin() as connection:  # noqa: SLF001
        wanted = TrialModel.trial_id == trial._trial_id, TrialModel.state == before  # noqa: SLF001
        return connection.execute(update(TrialModel).where(*wanted).values(values)).rowcount == 1


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
        raise StoreError(
            f"The store of runs cannot be used ({_shown(reason)}); what was measured before is kept. "
            "Check the disk, or VITEDGE_STORAGE."
        ) from error


@lru_cache(maxsize=8)
def _open(url: str) -> BaseStorage:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # one line per trial is for people at a terminal
    options: dict[str, object] = {"pool_pre_ping": True}  # a server that was restarted is found again
    if url.startswith("sqlite:///"):
        _prepare_sqlite(Path(url.removeprefix("sqlite:///")))
        options = {"connect_args": {"timeout": _LOCK_SECONDS, "factory": _Connection}}
    for attempt in range(5):
        try:
            return optuna.storages.get_storage(optuna.storages.RDBStorage(_with_driver(url), engine_kwargs=options))
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


def _with_driver(url: str) -> str:
    """A PostgreSQL URL without a driver gets the one that is installed; SQLAlchemy's choice depends on its version."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            drivers = [name for name in ("psycopg", "psycopg2") if find_spec(name)]
            return f"postgresql+{drivers[0] if drivers else 'psycopg2'}://{url.removeprefix(scheme)}"
    return url


class _Connection(sqlite3.Connection):
    """Waits for the disk at checkpoints only: a killed process loses nothing, and a write takes a tenth of the time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA synchronous=NORMAL")


def _prepare_sqlite(path: Path) -> None:
    """Write-ahead log: readers never wait for a writer, and a killed process leaves a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=_LOCK_SECONDS)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _shown(text: str) -> str:
    """Without the password that a URL may hold."""
    return re.sub(r"://[^@/\s]*@", "://…@", text)[:200]
