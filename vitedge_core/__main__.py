"""The command line: `python -m vitedge_core VERB`, the same verbs as the pages without a browser.

Figures go to standard output, progress and complaints to standard error. Exit codes: 0 done, 2 a sentence says what is
wrong, 130 cancelled. What is heavy is imported by the verb that needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from vitedge_core.cli import advising, benching, boards, catalogue, costing, exporting, keeping, measuring, training
from vitedge_core.cli.asking import Verb, add_recipe
from vitedge_core.cli.telling import progress
from vitedge_core.errors import Cancelled, VitEdgeError, unknown

GROUPS = (catalogue, costing, boards, measuring, benching, keeping, advising, exporting, training)


class _Parser(argparse.ArgumentParser):
    """Complains in one sentence instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        raise VitEdgeError(f"{message[:1].upper()}{message[1:]}; see python -m {self.prog} --help.")


def _parser() -> tuple[argparse.ArgumentParser, tuple[str, ...]]:
    """The parser, and the verbs it knows."""
    parser = _Parser(prog="vitedge_core", description="Compose compression recipes for vision transformers.")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(run: Verb, *, reports: bool = True, recipe: bool = False) -> argparse.ArgumentParser:
        sentence = (run.__doc__ or "").splitlines()[0]
        own = verbs.add_parser(run.__name__, help=sentence.replace("%", "%%"), description=sentence)
        own.set_defaults(run=run)
        if recipe:
            add_recipe(own)
        if reports:
            own.add_argument("--json", action="store_true", help="print one JSON object")
        return own

    for group in GROUPS:
        group.add(verb)
    return parser, tuple(verbs.choices)


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser, known = _parser()
    first = next((word for word in arguments if not word.startswith("-")), None)
    if first is not None and first not in known:
        raise unknown("verb", first, known)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code."""
    try:
        parsed = _parsed(sys.argv[1:] if arguments is None else arguments)
        parsed.run(parsed)
        sys.stdout.flush()
    except (KeyboardInterrupt, Cancelled):
        return _complain("Cancelled.", 130)
    except VitEdgeError as error:
        return _complain(str(error), 2)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _complain(f"{error.strerror or error}: {error.filename or 'the disk'}.", 2)
    except Exception as error:
        if os.environ.get("VITEDGE_DEBUG"):
            raise
        sentence = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return _complain(f"Something went wrong that should not ({sentence}); VITEDGE_DEBUG=1 shows where.", 2)
    return 0


def _complain(sentence: str, code: int) -> int:
    progress.close()
    print(sentence, file=sys.stderr)
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends as Ctrl-C does
    sys.exit(main())
