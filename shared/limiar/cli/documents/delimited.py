"""Documents from CSV and TSV: a header, then one row for each document."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import TextIO

from limiar.cli.documents.bad_lines import BadLines
from limiar.cli.documents.columns import Columns
from limiar.cli.documents.opening import check_decoded
from limiar.errors import InputError
from limiar.retrieval.documents import IndexDocument

DELIMITERS = ",;\t|"

_SAMPLE = 1 << 16
_SAMPLE_ROWS = 50
_LONGEST_CELL = 1 << 26
"""Characters. A quote that is never closed takes the rest of the file into one cell: this bounds it."""


def read_delimited(
    file: TextIO, name: str, delimiter: str | None, columns: Columns, bad: BadLines
) -> Iterator[IndexDocument]:
    r"""One document for each row below the header that is not blank.

    Args:
        file: opened with newline="", so that line breaks in cells stay.
        name: of the file.
        delimiter: None for the one of `,` `;` tab and `|` that fits the beginning of the file best.
        columns: what of a row makes what of a document. All values are text.
        bad: takes the rows that have not one cell for each column, or not what `columns` wants.

    Raises:
        InputError: two columns have one name, or the header cannot be read.
    """
    sample = file.read(_SAMPLE) + file.readline()
    lines = chain(io.StringIO(sample, newline=""), file)
    rows = _rows(lines, name, delimiter or _likely_delimiter(sample), bad)
    header = _header(*next(rows, (f"{name}:1", [])))
    for where, row in rows:
        try:
            document = columns.document(_by_column(header, row, where), where)
        except InputError as error:
            bad.met(error)
            continue
        yield document


def _rows(lines: Iterator[str], name: str, delimiter: str, bad: BadLines) -> Iterator[tuple[str, list[str]]]:
    """Each row that is not blank, with the line on which it begins."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        where = f"{name}:{reader.line_num + 1}"
        before = csv.field_size_limit(_LONGEST_CELL)  # of the whole process: given back at once
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            bad.met(InputError(f"{where} is no row of this file ({error}); look for a quote that is never closed"))
            continue
        finally:
            csv.field_size_limit(before)
        if any(cell.strip() for cell in row):
            yield where, row


def _header(where: str, row: list[str]) -> list[str]:
    """The names of the columns; one without a name is called by its place."""
    names = [check_decoded(cell, where).strip() or f"column_{place}" for place, cell in enumerate(row, 1)]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        msg = f"{where} names the column {twice[0][:60]!r} twice; expected each once"
        raise InputError(msg)
    return names


def _by_column(header: list[str], row: list[str], where: str) -> dict[str, object]:
    if len(row) != len(header):
        msg = (
            f"{where} has {len(row)} cells and the header {len(header)}; expected as many (quote cells that hold the "
            "delimiter, or name another one with --delimiter)"
        )
        raise InputError(msg)
    return {column: check_decoded(cell, where) for column, cell in zip(header, row, strict=True)}


def _likely_delimiter(sample: str) -> str:
    """The delimiter by which the most rows have as many cells as the header, which has at least two; else a comma."""

    def fit(delimiter: str) -> tuple[float, int]:
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
        try:
            rows = [row for row, _ in zip(reader, range(_SAMPLE_ROWS), strict=False) if row]
        except csv.Error:
            return 0.0, 0
        if not rows or len(rows[0]) < 2:
            return 0.0, 0
        return sum(len(row) == len(rows[0]) for row in rows) / len(rows), len(rows[0])

    return max(DELIMITERS, key=fit)
