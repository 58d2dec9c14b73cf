"""Files as text, and the errors of files and encodings as limiar's own."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from limiar.cli.documents.sources import Source
from limiar.errors import ConfigurationError, InputError

DEFAULT_ENCODING = "utf-8"

_UNDECODED = re.compile("[\udc80-\udcff]")


def check_encoding(encoding: str) -> str:
    """`encoding` itself, if Python knows it as a text encoding; else `ConfigurationError`."""
    try:
        "a".encode(encoding)
    except (LookupError, ValueError) as error:
        msg = f"--encoding {encoding!r} is not known; expected a name such as utf-8, cp1252, latin-1 or utf-16"
        raise ConfigurationError(msg) from error
    return encoding


@contextmanager
def opened(source: Source, encoding: str, *, newline: str | None = None) -> Iterator[TextIO]:
    """The text of `source`, without a byte order mark. `check_decoded` tells whether a part of it could be decoded.

    Raises:
        InputError: it cannot be read.
    """
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        encoding = "utf-8-sig"
    try:
        if source.path is None:
            text = io.TextIOWrapper(sys.stdin.buffer, encoding, "surrogateescape", newline)
            try:
                yield text
            finally:
                text.detach()  # standard input is not ours to close
        else:
            with source.path.open(encoding=encoding, errors="surrogateescape", newline=newline) as file:
                yield file
    except OSError as error:
        msg = f"{source.name} cannot be read ({error.strerror})"
        raise InputError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{source.name} is not valid {encoding}; name the encoding that it has with --encoding"
        raise InputError(msg) from error


def check_decoded(text: str, where: str) -> str:
    """`text` itself, unless it holds bytes that the encoding does not know."""
    if _UNDECODED.search(text):
        msg = f"{where} is not valid in this encoding; name the one that the file has: --encoding cp1252, for example"
        raise InputError(msg)
    return text


def line_of_undecoded(text: str) -> int | None:
    """The number of the first line that holds such bytes, from 1; None if none does."""
    found = _UNDECODED.search(text)
    return None if found is None else text.count("\n", 0, found.start()) + 1
