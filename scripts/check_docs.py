"""Checks the Markdown files: links resolve, Python blocks compile or run, and the two READMEs have one shape.

A block fenced as ```python must compile; one fenced as ```python run is also executed, in a process and an empty
folder of its own. Run it from anywhere: python scripts/check_docs.py
"""
# ruff: noqa: D103, INP001, T201

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
REQUIRED = ["README.md", "README.pt-BR.md", "CONTRIBUTING.md", "CHANGELOG.md"]
TWINS = ("README.md", "README.pt-BR.md")
LONGEST_RUN = 300

FENCE = re.compile(r"^\s*(?P<marks>`{3,}|~{3,})\s*(?P<info>[^`]*)$")
HEADING = re.compile(r"^(?P<level>#{1,6})\s+(?P<title>.+?)\s*#*\s*$")
INLINE_CODE = re.compile(r"(`+).+?\1")
LINK = re.compile(r"""\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\s*\[[^\]]+\]:\s*(\S+)|(?:href|src)=["']([^"']+)["']""")
ELSEWHERE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)


@dataclass
class Block:
    """A fenced block of code."""

    line: int
    info: str
    code: str


@dataclass
class Document:
    """A Markdown file, read once: its headings, its blocks, and the rest of its lines."""

    path: Path
    headings: list[tuple[int, str]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    prose: list[tuple[int, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()


def read(path: Path) -> Document:
    document = Document(path)
    marks = info = ""
    start = 0
    code: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if marks:
            if fence and fence["marks"].startswith(marks) and not fence["info"].strip():
                document.blocks.append(Block(start, info, textwrap.dedent("\n".join(code)) + "\n"))
                marks, code = "", []
            else:
                code.append(line)
        elif fence:
            marks, info, start = fence["marks"], fence["info"].strip(), number
        else:
            document.prose.append((number, line))
            heading = HEADING.match(line)
            if heading:
                document.headings.append((len(heading["level"]), heading["title"]))
    if marks:
        document.blocks.append(Block(start, "never closed", ""))
    return document


def anchors(document: Document) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them, and those of its HTML."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for _, title in document.headings:
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    for _, line in document.prose:
        found.update(re.findall(r"""\b(?:id|name)=["']([^"']+)["']""", line))
    return found


def check_links(document: Document) -> Iterator[str]:
    for number, line in document.prose:
        for groups in LINK.findall(INLINE_CODE.sub("", line)):
            target = next(group for group in groups if group)
            if ELSEWHERE.match(target):
                continue
            file, _, anchor = unquote(target).partition("#")
            path = (document.path.parent / file).resolve() if file else document.path
            if not path.is_relative_to(ROOT) or not path.exists():
                yield f"{document.name}:{number}: {target} does not exist"
            elif anchor and path.suffix == ".md" and anchor not in anchors(read(path)):
                yield f"{document.name}:{number}: {target} has no such heading"


def check_blocks(document: Document) -> Iterator[str]:
    for block in document.blocks:
        where = f"{document.name}:{block.line}"
        language, *options = block.info.split() or [""]
        if block.info == "never closed":
            yield f"{where}: the block is never closed"
        if language != "python":
            continue
        try:
            compile(block.code, where, "exec")
        except SyntaxError as error:
            yield f"{where}: the block does not compile: {error}"
            continue
        if "run" in options:
            yield from run(where, block.code)


def run(where: str, code: str) -> Iterator[str]:
    print(f"running {where}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run([sys.executable, "-"], input=code, text=True, cwd=folder, check=True, timeout=LONGEST_RUN)
        except subprocess.SubprocessError as error:
            yield f"{where}: the block failed: {error}"


def check_twins(one: Document, other: Document) -> Iterator[str]:
    """Two languages of one text have the same headings of each level and the same number of blocks."""
    levels, other_levels = (Counter(level for level, _ in document.headings) for document in (one, other))
    for level in sorted(levels.keys() | other_levels.keys()):
        if levels[level] != other_levels[level]:
            yield (f"{one.name} has {levels[level]} headings of level {level}, {other.name} has {other_levels[level]}")
    if len(one.blocks) != len(other.blocks):
        yield f"{one.name} has {len(one.blocks)} blocks of code, {other.name} has {len(other.blocks)}"


def problems() -> Iterator[str]:
    paths = [ROOT / name for name in REQUIRED] + sorted((ROOT / "docs").rglob("*.md"))
    yield from (f"{path.relative_to(ROOT)} is missing" for path in paths if not path.exists())
    documents = {document.name: document for document in map(read, filter(Path.exists, paths))}
    for document in documents.values():
        yield from check_links(document)
        yield from check_blocks(document)
    if all(name in documents for name in TWINS):
        yield from check_twins(*(documents[name] for name in TWINS))


def main() -> int:
    found = list(problems())
    print("\n".join(found) or "the documents are sound")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
