"""The options that say how documents are read from files, for the commands that read them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from limiar.errors import ConfigurationError

if TYPE_CHECKING:
    from limiar.cli.documents.reader import ReadOptions


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add `--format` to `--base`, and `--id` to `--numbers`."""
    _add_reading(parser.add_argument_group("reading"))
    _add_columns(parser.add_argument_group("columns of JSON lines, CSV and TSV"))


def read_options(args: argparse.Namespace) -> ReadOptions:
    """How the options say to read.

    Raises:
        ConfigurationError: the delimiter or the encoding cannot be used.
    """
    from limiar.cli.documents.columns import Columns
    from limiar.cli.documents.opening import check_encoding
    from limiar.cli.documents.reader import ReadOptions

    if args.delimiter is not None and (len(args.delimiter) != 1 or args.delimiter in '"\r\n'):
        msg = f"--delimiter {args.delimiter!r}; expected one character, which is no quote"
        raise ConfigurationError(msg)
    columns = Columns(args.id, args.title, tuple(args.text), args.metadata, frozenset(args.numbers))
    return ReadOptions(
        columns, check_encoding(args.encoding), args.delimiter, lines=args.lines, headings=args.split == "headings"
    )


def names_between_commas(text: str) -> tuple[str, ...]:
    """Names between commas; a comma in a name cannot be written."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _add_reading(group: argparse._ArgumentGroup) -> None:
    formats = ("jsonl", "csv", "tsv", "txt", "md")
    group.add_argument("--format", choices=formats, help="of standard input (default: jsonl) and of the files named")
    group.add_argument("--encoding", default="utf-8", metavar="NAME", help="of the files (default: %(default)s)")
    group.add_argument("--delimiter", metavar="CHARACTER", help="of CSV (default: the likeliest of , ; tab and |)")
    group.add_argument("--lines", action="store_true", help="each line of a text file is a document")
    group.add_argument(
        "--split",
        choices=("headings", "none"),
        default="headings",
        help="Markdown: a document for each heading, or for each file (default: %(default)s)",
    )
    group.add_argument("--skip-bad-lines", action="store_true", help="pass over lines that cannot be used, count them")
    group.add_argument("--base", type=Path, metavar="FOLDER", help="ids of files begin here (default: where you are)")


def _add_columns(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--id", metavar="COLUMN", help="default: _id or id, else the file's name and the line")
    group.add_argument("--title", metavar="COLUMN", help="default: title, if there is one")
    group.add_argument(
        "--text",
        metavar="COLUMN",
        action="append",
        default=[],
        help="may be given more than once (default: text, page_content or content)",
    )
    group.add_argument("--metadata", metavar="COLUMN,...", type=names_between_commas, help="default: all other columns")
    group.add_argument(
        "--numbers",
        metavar="COLUMN,...",
        type=names_between_commas,
        default=(),
        help="metadata to read as numbers, for filters",
    )
