"""Documents from Markdown: one for each heading, or the whole file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

from limiar.cli.documents.bad_lines import BadLines
from limiar.cli.documents.columns import checked_document
from limiar.cli.documents.text import decoded
from limiar.retrieval.documents import IndexDocument

_HEADING = re.compile(r" {0,3}(?P<level>#{1,6})(?:[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(?P<mark>=+|-+)[ \t]*")
_NOT_UNDERLINED = re.compile(r"\s*(?:$|[-*+>|#]|\d+[.)]\s| {4}|\t)")
_FENCE = re.compile(r" {0,3}(?P<marks>`{3,}|~{3,})(?P<info>.*)")
_LINK = re.compile(r"!?\[([^\[\]]{0,500})\]\([^()]{0,2000}\)")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?=\S)(?P<matter>.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|$)", re.DOTALL)


@dataclass
class _Section:
    """A heading, those above it, and the lines up to the next heading."""

    headings: tuple[str, ...] = ()
    lines: list[str] = field(default_factory=list)


def read_markdown(file: TextIO, name: str, bad: BadLines, *, split: bool = True) -> Iterator[IndexDocument]:
    """One document for each heading with text below it, or one for the whole file; none for a blank file.

    A section's id is "NAME#HEADING" with the anchor that GitHub gives the heading; what comes before the first
    heading, and a file that is not split, has the file's name. The title is the heading with those above it, "Guide >
    Install". YAML front matter is left out.

    Args:
        file: its text.
        name: of the file.
        bad: takes a file that cannot be decoded.
        split: at headings.
    """
    text = _FRONT_MATTER.sub("", decoded(file, name, bad), count=1)
    if not split:
        titles = (section.headings[-1] for section in _sections(text) if section.headings)
        if text.strip():
            yield checked_document(name, next(titles, ""), text, {"source": name}, name)
        return
    taken: set[str] = set()
    for section in _sections(text):
        identity = f"{name}#{_anchor(section.headings[-1], taken)}" if section.headings else name
        body = "\n".join(section.lines).strip("\n")
        if body.strip():
            metadata = {"source": name, "headings": list(section.headings)}
            yield checked_document(identity, " > ".join(section.headings), body, metadata, name)


def _sections(text: str) -> Iterator[_Section]:
    section = _Section()
    path: dict[int, str] = {}
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.fullmatch(line)
        if fence:
            closes = mark is not None and mark["marks"].startswith(fence) and not mark["info"].strip()
            fence = "" if closes else fence
            section.lines.append(line)
            continue
        if mark is not None:
            fence = mark["marks"]
            section.lines.append(line)
            continue
        found = _heading(line, section.lines)
        if found is None:
            section.lines.append(line)
            continue
        yield section
        level, title = found
        path = {above: name for above, name in path.items() if above < level} | {level: title}
        section = _Section(tuple(name for _, name in sorted(path.items()) if name))
    yield section


def _heading(line: str, before: list[str]) -> tuple[int, str] | None:
    """Level and title, if `line` is a heading or underlines one, which is then taken off the lines before."""
    marked = _HEADING.match(line)
    if marked is not None:
        title = line[marked.end() :].strip()
        unmarked = title.rstrip("#")
        return len(marked["level"]), _plain(title if unmarked[-1:].strip() else unmarked)
    underline = _UNDERLINE.fullmatch(line)
    if underline is None or not before or _NOT_UNDERLINED.match(before[-1]):
        return None
    return (1 if underline["mark"].startswith("=") else 2), _plain(before.pop())


def _plain(title: str) -> str:
    return re.sub(r"[*`]|(?<!\w)_|_(?!\w)", "", _LINK.sub(r"\1", title)).strip()


def _anchor(heading: str, taken: set[str]) -> str:
    """As GitHub makes it: "Art. 37, § 6º" is "art-37--6º"; the second of one name ends in "-1"."""
    slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    anchor, times = slug, 0
    while anchor in taken:
        times += 1
        anchor = f"{slug}-{times}"
    taken.add(anchor)
    return anchor
