"""The verb about runs that were measured: list, compare, tag, delete and undo, export and import them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitedge_core.cli.asking import Adder, at_least_one
from vitedge_core.cli.telling import NAMES, print_json, print_table, progress
from vitedge_core.errors import VitEdgeError

if TYPE_CHECKING:
    from vitedge_core.experiments.run_list import Entry

_WIDE = 60  # letters of a recipe in a table


def runs(arguments: argparse.Namespace) -> None:
    """Runs that were measured: list, compare, tag, delete, undo, export, import."""
    arguments.act(arguments)


def _list(arguments: argparse.Namespace) -> None:
    """Runs, the latest first."""
    found = _filtered(arguments)
    shown = found[: arguments.limit]
    if arguments.json:
        print_json({"runs": [_plain(entry) for entry in shown], "found": len(found)})
        return
    from vitedge_core.text.human import human, interval

    rows = [("Run", "Measured", "Model", "Recipe", "Accuracy", "95 % interval", "MACs", "Images", "By", "Tags")]
    for entry in shown:
        run, figures = entry.run, entry.run.evaluation.compressed
        accuracy = figures["accuracy"]
        by = f"{run.origin} (imported)" if run.imported else run.origin
        when = datetime.fromtimestamp(run.time, UTC).strftime("%Y-%m-%d %H:%M")
        rows.append((entry.name, when, run.recipe.model, _recipe(entry), human(accuracy), interval(accuracy),
                     human(figures["macs"]), f"{run.evaluation.n:,}", by, ", ".join(entry.tags)))  # fmt: skip
    print_table(rows)
    if len(found) > len(shown):
        print(f"{len(found) - len(shown):,} more; --limit shows them. Times are UTC.")


def _compare(arguments: argparse.Namespace) -> None:
    """Two to six runs side by side; what differs is marked with *."""
    from vitedge_core.experiments.run_compare import compare
    from vitedge_core.experiments.run_list import entries, picked

    found = compare(picked(entries(), arguments.names))
    if arguments.json:
        print_json(_compared(found))
        return
    from vitedge_core.text.human import human, interval

    rows = [("", "", *(f"{'ABCDEF'[number]}: {entry.name}" for number, entry in enumerate(found.entries)))]
    rows += [
        ("*" if line.differs else "", f"{line.technique} {line.title}".strip(), *line.cells)
        for line in (*found.recipe, *found.about)
    ]
    for figure in found.figures:
        told = [f"{human(value)} ({interval(value)})" if value else "–" for value in figure.values]
        judged = [told[0], *(f"{text}: {word}" for text, word in zip(told[1:], figure.verdicts, strict=True))]
        rows.append(("*" if figure.differs else "", _title(figure.name), *(text.replace(" ()", "") for text in judged)))
    print_table(rows)
    for sentence in dict.fromkeys((*found.notes, *(figure.why for figure in found.figures if figure.why))):
        print(sentence)


def _tag(arguments: argparse.Namespace) -> None:
    """Give runs tags, or take some away."""
    from vitedge_core.experiments import run_notes
    from vitedge_core.experiments.run_list import entries, picked

    if not arguments.add and not arguments.remove:
        raise VitEdgeError("Name a tag with --add TAG or --remove TAG.")
    names = [entry.name for entry in picked(entries(), arguments.names)]
    run_notes.tag(names, arguments.add, arguments.remove)
    tags = {name: list(run_notes.notes().tags.get(name, ())) for name in names}
    if arguments.json:
        print_json({"tags": tags})
        return
    print_table([("Run", "Tags"), *((name, ", ".join(words)) for name, words in tags.items())])


def _delete(arguments: argparse.Namespace) -> None:
    """Delete runs: they stay in the store, hidden, and `runs undo` brings them back."""
    from vitedge_core.experiments import run_notes
    from vitedge_core.experiments.run_list import entries, picked

    names = [entry.name for entry in picked(entries(), arguments.names)]
    run_notes.delete(names)
    _done(arguments, {"deleted": names}, f"{len(names)} deleted; `runs undo` brings them back.")


def _undo(arguments: argparse.Namespace) -> None:
    """Bring back what was deleted last."""
    from vitedge_core.experiments import run_notes

    names = list(run_notes.undo())
    _done(arguments, {"restored": names}, f"{len(names)} brought back: {', '.join(names)}.")


def _export(arguments: argparse.Namespace) -> None:
    """Write runs into a file: .json, .csv or .parquet."""
    from vitedge_core.experiments.run_files import WRITERS
    from vitedge_core.storage import written_whole

    out = Path(arguments.out)
    write = WRITERS.get(out.suffix.lower().removeprefix("."))
    if write is None:
        raise VitEdgeError(f"The name of the file says its kind: {', '.join(f'.{kind}' for kind in WRITERS)}.")
    found = _filtered(arguments)
    if not found:
        raise VitEdgeError("No run fits, so there is nothing to export.")
    data = write(found)
    with written_whole(out) as path:
        path.write_bytes(data)
    _done(arguments, {"file": str(out), "runs": len(found)}, f"{len(found):,} runs are in {out}.")


def _import(arguments: argparse.Namespace) -> None:
    """Add the runs of a .json, .csv or .parquet file that was exported here or elsewhere."""
    from vitedge_core.experiments.run_files import MAX_BYTES, import_runs, read_runs

    path = Path(arguments.file)
    if not path.is_file():
        raise VitEdgeError(f"There is no file {path}.")
    with path.open("rb") as file:
        incoming = read_runs(file.read(MAX_BYTES + 1))
    done = import_runs(incoming, report=progress)
    progress.close()
    _done(arguments, {"new": done.new, "known": done.known, "restored": done.restored}, done.sentence)


def _done(arguments: argparse.Namespace, plain: dict[str, Any], sentence: str) -> None:
    if arguments.json:
        print_json(plain)
    else:
        print(sentence)


def _filtered(arguments: argparse.Namespace) -> list[Entry]:
    from vitedge_core.experiments.run_list import Filter, entries, picked

    wishes = Filter(
        models=arguments.model, techniques=arguments.technique, images=arguments.images, origins=arguments.origin,
        engines=arguments.engine, tags=arguments.tag, words=arguments.text, since=arguments.since,
        until=arguments.until,
    )  # fmt: skip
    known = entries()
    return list(filter(wishes, picked(known, arguments.names) if arguments.names else known))


def _plain(entry: Entry) -> dict[str, Any]:
    return {"name": entry.name, "tags": list(entry.tags), **entry.run.to_dict()}


def _compared(found: Any) -> dict[str, Any]:
    lines = [
        {"technique": line.technique, "title": line.title, "values": list(line.cells), "differs": line.differs}
        for line in (*found.recipe, *found.about)
    ]
    figures = {
        figure.name: {
            "values": [value and value.to_dict() for value in figure.values],
            "against_first": [gap and gap.to_dict() for gap in figure.differences[1:]],
            "verdicts": list(figure.verdicts), "why": figure.why,
        }
        for figure in found.figures
    }  # fmt: skip
    names = [entry.name for entry in found.entries]
    return {"runs": names, "lines": lines, "figures": figures, "notes": list(found.notes)}


def _title(name: str) -> str:
    more = {"accuracy_difference": "Accuracy change, paired", "latency_ratio": "Latency ratio, paired"}
    return NAMES.get(name) or more.get(name, name)


def _recipe(entry: Entry) -> str:
    steps = []
    for step in entry.run.recipe.active:
        knobs = ",".join(f"{name}={value}" for name, value in step.params)
        steps.append(f"{step.technique}:{knobs}" if knobs else step.technique)
    text = " ".join(steps) or "uncompressed"
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"


def _day(text: str) -> float:
    """Midnight (UTC) of a day, or a moment, for an option."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day such as 2026-03-31") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def add(verb: Adder) -> None:
    """The verb and what it can do."""
    acts = verb(runs, reports=False).add_subparsers(dest="act", metavar="WHAT", required=True)

    def act(do: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        sentence = (do.__doc__ or "").splitlines()[0]
        own = acts.add_parser(do.__name__.removeprefix("_"), help=sentence, description=sentence)
        own.set_defaults(act=do)
        own.add_argument("--json", action="store_true", help="print one JSON object")
        return own

    own = act(_list)
    _add_filters(own)
    own.add_argument("--limit", type=at_least_one, default=40, metavar="N", help="runs at most (40)")
    for do in (_compare, _delete, _tag):
        own = act(do)
        own.add_argument("names", nargs="+", metavar="RUN", help="its name in the list, or the first letters of it")
    own.add_argument("--add", action="append", default=[], metavar="TAG", help="repeatable")
    own.add_argument("--remove", action="append", default=[], metavar="TAG", help="repeatable")
    act(_undo)
    own = act(_export)
    own.add_argument("--out", required=True, metavar="FILE", help="ends in .json, .csv or .parquet")
    _add_filters(own)
    act(_import).add_argument("file", metavar="FILE", help="ends in .json, .csv or .parquet")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="RUN", help="only these (all)")
    for name, what in {
        "model": "of this model", "technique": "with this method", "images": "on the images of this digest",
        "origin": "measured by Build, sweep, command line or imported", "engine": "on this engine",
        "tag": "with this tag",
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", action="append", default=[], metavar=name.upper(), help=f"{what}; repeatable")
    parser.add_argument("--text", default="", metavar="WORDS", help="that mention all these words")
    parser.add_argument("--since", type=_day, metavar="DAY", help="measured on this day (UTC) or later")
    parser.add_argument("--until", type=_day, metavar="DAY", help="measured before this day (UTC)")
