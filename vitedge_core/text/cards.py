"""A technique's docstring as the sections of its page: the docstring is the manual."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

HEADINGS = ("Idea", "Cost", "When it fails", "Reference")
_HEADING = re.compile(rf"^({'|'.join(HEADINGS)}):[ \t]*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Manual:
    """What a docstring says: its first sentence, and its sections by heading in the order of `HEADINGS`."""

    lead: str
    sections: tuple[tuple[str, str], ...]

    def section(self, heading: str) -> str:
        """The text under a heading, empty if it is missing."""
        return dict(self.sections).get(heading, "")


def manual(docstring: str | None) -> Manual:
    """The sections of a docstring; the text after a heading may follow on its line or be indented below it."""
    text = inspect.cleandoc(docstring or "")
    parts = _HEADING.split(text)
    found = {heading: _flowing(body) for heading, body in zip(parts[1::2], parts[2::2], strict=True)}
    return Manual(_flowing(parts[0]), tuple((h, found[h]) for h in HEADINGS if found.get(h)))


def _flowing(body: str) -> str:
    """The text without its line breaks; blank lines still part paragraphs."""
    paragraphs = re.split(r"\n\s*\n", body.strip())
    return "\n\n".join(
        " ".join(line.strip() for line in paragraph.splitlines()) for paragraph in paragraphs if paragraph
    )


def arxiv_link(identifier: str) -> str:
    """A link to a paper by its arXiv id, as markdown; empty without one."""
    return f"[arXiv:{identifier}](https://arxiv.org/abs/{identifier})" if identifier else ""
