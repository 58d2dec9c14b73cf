"""`limiar index PATH...`: builds an index from files, or brings it up to date."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from limiar.cli.encoders import add_encoder_options, check_encoder, chosen_encoder
from limiar.cli.terminal import DEFAULT_FOLDER, documents_bar, output_console, say
from limiar.errors import ConfigurationError, InputError, LimiarError

if TYPE_CHECKING:
    from limiar import AddReport, HybridIndex, IndexDocument
    from limiar.cli.documents.reader import DocumentReader, ReadOptions

_TEXT, _TITLE = "text", "title"
_DESCRIPTION = (
    "Reads documents from JSON lines (.jsonl, .ndjson), CSV, TSV, text (.txt) and Markdown (.md) files, from all such "
    "files in folders, and from standard input (-), and makes them searchable by words and by meaning. Run it again to "
    "bring the index up to date: what has not changed is not written, and no text is embedded twice. "
    "`limiar index verify`, `repair` and `stats` look after an index."
)
_IDS = (
    "A document's id is what the column of ids says, or else its place: FILE:LINE for rows and lines, FILE for a text, "
    "FILE#HEADING for a section of Markdown. FILE is relative to --base."
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `index`."""
    parser = commands.add_parser(
        "index", help="build an index from files, or update it", description=_DESCRIPTION, epilog=_IDS
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, a folder, or - for standard input")
    parser.add_argument(
        "--index", type=Path, default=Path(DEFAULT_FOLDER), metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument(
        "--delete-missing", action="store_true", help="delete the documents of the index that the input does not hold"
    )
    _add_reading(parser.add_argument_group("reading"))
    _add_columns(parser.add_argument_group("columns of JSON lines, CSV and TSV"))
    _add_new(parser.add_argument_group("a new index"))
    add_encoder_options(parser)
    parser.set_defaults(run=_index)


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
    group.add_argument("--metadata", metavar="COLUMN,...", type=_names, help="default: all other columns")
    group.add_argument(
        "--numbers", metavar="COLUMN,...", type=_names, default=(), help="metadata to read as numbers, for filters"
    )


def _add_new(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--language", choices=("en", "pt"), help="of the texts (default: pt)")
    group.add_argument(
        "--title-weight", type=float, metavar="X", help="of words in titles, in texts it is 1 (default: 1)"
    )
    group.add_argument("--chroma", metavar="URL", help="a Chroma server for the vectors (default: inside the folder)")


def _names(text: str) -> tuple[str, ...]:
    """Column names between commas; a comma in a name cannot be written."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _index(args: argparse.Namespace) -> int:
    from limiar.cli.documents.bad_lines import BadLines
    from limiar.cli.documents.reader import DocumentReader
    from limiar.cli.documents.sources import find_sources

    if args.delete_missing and args.skip_bad_lines:
        msg = "--delete-missing would delete the documents of the lines that --skip-bad-lines passes over; choose one"
        raise ConfigurationError(msg)
    sources = find_sources(args.paths, format=args.format, base=args.base, without=args.index)
    reader = DocumentReader(sources, _read_options(args), BadLines(skip=args.skip_bad_lines))
    documents = _begun(reader)
    seen: set[str] = set()
    with _opened(args) as index, _saying_what_is_kept(index):
        fitting = _fitted(documents, index)
        report = _add(index, _noted(fitting, seen) if args.delete_missing else fitting, reader, sources.size)
        deleted = index.delete(identity for identity in index.ids() if identity not in seen) if seen else 0
        _print_summary(index, report, deleted, reader.bad.count, sources.passed_over)
    return 0


def _read_options(args: argparse.Namespace) -> ReadOptions:
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


def _begun(reader: DocumentReader) -> Iterator[IndexDocument]:
    """All documents. The first is read now: input that cannot be used at all makes no index."""
    documents = iter(reader)
    for first in documents:
        return chain([first], documents)
    skipped = f" ({reader.bad.count} bad lines were passed over)" if reader.bad.count else ""
    msg = f"the input holds no documents{skipped}; expected at least one"
    raise InputError(msg)


def _opened(args: argparse.Namespace) -> HybridIndex:
    from limiar import Analyzer, HybridIndex
    from limiar.embeddings.resolve import warm_up
    from limiar.retrieval.store import MANIFEST

    encoder = chosen_encoder(args.encoder, args.pooling)
    folder: Path = args.index
    if not (folder / MANIFEST).exists():
        warm_up(encoder)  # a model that does not exist makes no index
        weight = 1.0 if args.title_weight is None else args.title_weight
        return HybridIndex.create(
            folder,
            fields={_TITLE: weight, _TEXT: 1.0},
            analyzer=Analyzer(args.language or "pt"),
            encoder=encoder,
            chroma=args.chroma,
        )
    index = HybridIndex.open(folder, encoder=check_encoder(folder, encoder), chroma=args.chroma)
    try:
        _check_settings(index, args)
    except BaseException:
        index.close()
        raise
    return index


def _check_settings(index: HybridIndex, args: argparse.Namespace) -> None:
    """What was settled when the index was made may be said again, and not otherwise."""
    stats = index.stats()
    weight = stats.fields.get(_TITLE)
    for option, wanted, there in (
        ("--language", args.language, stats.language),
        ("--title-weight", args.title_weight, weight),
    ):
        if wanted is not None and wanted != there:
            msg = f"{index.folder} was made with {option} {there}, not {wanted}; leave it out, or make a new index"
            raise ConfigurationError(msg)


@contextmanager
def _saying_what_is_kept(index: HybridIndex) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, LimiarError) as error:
        what = "interrupted" if isinstance(error, KeyboardInterrupt) else "not finished"
        say(
            f"{what}; {index.folder} holds {len(index):,} documents. The same command continues, and embeds again "
            "nothing that it has embedded"
        )
        raise


def _fitted(documents: Iterable[IndexDocument], index: HybridIndex) -> Iterable[IndexDocument]:
    """The titles as metadata, for an index made in Python that has no such field."""
    if _TITLE in index.stats().fields:
        return documents
    return (
        replace(it, fields={_TEXT: it.fields[_TEXT]}, metadata={_TITLE: it.fields[_TITLE], **it.metadata})
        if _TITLE in it.fields
        else it
        for it in documents
    )


def _noted(documents: Iterable[IndexDocument], seen: set[str]) -> Iterator[IndexDocument]:
    for document in documents:
        seen.add(document.id)
        yield document


def _add(index: HybridIndex, documents: Iterable[IndexDocument], reader: DocumentReader, size: int | None) -> AddReport:
    with documents_bar(f"indexing into {index.folder}") as advance:

        def progress(done: int, _total: int | None) -> None:
            """The documents read ahead count by their bytes when they are written."""
            advance(done, reader.position * done / max(reader.documents, 1), size)

        return index.add(documents, progress=progress)


def _print_summary(index: HybridIndex, report: AddReport, deleted: int, bad: int, passed_over: int) -> None:
    done = f"{report.added:,} added, {report.replaced:,} replaced, {report.unchanged:,} unchanged"
    parts = [done, f"{report.embedded:,} texts embedded"]
    if report.repeated:
        parts.append(f"{report.repeated:,} passed over for a later one with the same id")
    if deleted:
        parts.append(f"{deleted:,} deleted")
    if bad:
        parts.append(f"{bad:,} bad lines passed over")
    if passed_over:
        parts.append(f"{passed_over:,} files of other kinds passed over")
    console = output_console()
    console.print(f"{index.folder}: {len(index):,} documents", soft_wrap=True)
    for part in parts:
        console.print(f"  {part}", soft_wrap=True)
