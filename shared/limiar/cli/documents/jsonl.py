"""Documents from JSON lines: one object a line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator

from limiar.cli.documents.bad_lines import BadLines
from limiar.cli.documents.columns import Columns
from limiar.cli.documents.opening import check_decoded
from limiar.errors import InputError
from limiar.retrieval.documents import IndexDocument

_LIMIT = 1 << 63
_MOST_DIGITS = len(str(-_LIMIT))


def read_jsonl(lines: Iterable[str], name: str, columns: Columns, bad: BadLines) -> Iterator[IndexDocument]:
    """One document for each line that is not blank.

    NaN, which Python writes and JSON does not know, is read as null; a number beyond 64 bits as text.

    Args:
        lines: the file.
        name: of the file.
        columns: what of a line makes what of a document.
        bad: takes the lines that are no object, or not the one that `columns` wants.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            document = columns.document(_row(line, where), where)
        except InputError as error:
            bad.met(error)
            continue
        yield document


def _row(line: str, where: str) -> dict[str, object]:
    check_decoded(line, where)
    try:
        row = json.loads(line, parse_int=_integer, parse_float=_float, parse_constant=_nothing)
    except (ValueError, RecursionError) as error:
        reason = (
            f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        )
        msg = f"{where} is no JSON ({reason}); expected one object a line"
        raise InputError(msg) from error
    if not isinstance(row, dict):
        msg = f"{where} is a JSON {type(row).__name__}; expected one object a line"
        raise InputError(msg)
    return row


def _integer(digits: str) -> int | str:
    if len(digits) > _MOST_DIGITS:
        return digits
    number = int(digits)
    return number if -_LIMIT <= number < _LIMIT else digits


def _float(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _nothing(_: str) -> None:
    return None
