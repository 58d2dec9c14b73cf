"""Documents from plain text: the whole file, or each line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TextIO

from limiar.cli.documents.bad_lines import BadLines
from limiar.cli.documents.columns import checked_document
from limiar.cli.documents.opening import check_decoded, line_of_undecoded
from limiar.errors import InputError
from limiar.retrieval.documents import IndexDocument


def read_whole(file: TextIO, name: str, bad: BadLines) -> Iterator[IndexDocument]:
    """One document with the file's name as its id; none for a blank file."""
    text = decoded(file, name, bad)
    if text.strip():
        yield checked_document(name, "", text, {"source": name}, name)


def read_lines(lines: Iterable[str], name: str, bad: BadLines) -> Iterator[IndexDocument]:
    """One document for each line that is not blank, "NAME:LINE"."""
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        where = f"{name}:{number}"
        try:
            check_decoded(text, where)
            document = checked_document(where, "", text, {"source": name, "line": number}, where)
        except InputError as error:
            bad.met(error)
            continue
        yield document


def decoded(file: TextIO, name: str, bad: BadLines) -> str:
    """The whole text; if it holds what its encoding does not know, `bad` takes it and nothing is left."""
    text = file.read()
    line = line_of_undecoded(text)
    if line is None:
        return text
    try:
        check_decoded(text, f"{name}:{line}")
    except InputError as error:
        bad.met(error)
    return ""
