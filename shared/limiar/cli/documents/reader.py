"""All sources, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

from limiar.cli.documents.bad_lines import BadLines
from limiar.cli.documents.columns import Columns
from limiar.cli.documents.delimited import read_delimited
from limiar.cli.documents.jsonl import read_jsonl
from limiar.cli.documents.markdown import read_markdown
from limiar.cli.documents.opening import DEFAULT_ENCODING, opened
from limiar.cli.documents.sources import Source, Sources
from limiar.cli.documents.text import read_lines, read_whole
from limiar.retrieval.documents import IndexDocument


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    Args:
        columns: of JSON lines, CSV and TSV.
        encoding: of all files.
        delimiter: of CSV; None finds it for each file.
        lines: each line of a text file is a document.
        headings: each section of a Markdown file is a document.
    """

    columns: Columns = field(default_factory=Columns)
    encoding: str = DEFAULT_ENCODING
    delimiter: str | None = None
    lines: bool = False
    headings: bool = True


class DocumentReader:
    """The documents of all sources, read as they are asked for; no more than one file's line, or a text file, is held.

    Attributes:
        bad: the lines that were passed over.
        documents: how many were read so far.
        position: how many bytes of the files were read so far.
    """

    def __init__(self, sources: Sources, options: ReadOptions, bad: BadLines) -> None:
        self._sources = sources
        self._options = options
        self.bad = bad
        self.documents = 0
        self.position = 0

    def __iter__(self) -> Iterator[IndexDocument]:
        """Read from the beginning.

        Raises:
            InputError: a file cannot be read, or a line of it cannot be used and is not to be passed over.
        """
        self.documents = self.position = 0
        for source in self._sources.found:
            before = self.position
            newline = "" if source.format in ("csv", "tsv") else None
            with opened(source, self._options.encoding, newline=newline) as file:
                for document in self._documents(file, source):
                    self.documents += 1
                    if source.size is not None:
                        self.position = before + file.buffer.tell()
                    yield document
            self.position = before + (source.size or 0)

    def _documents(self, file: TextIO, source: Source) -> Iterator[IndexDocument]:
        options, name = self._options, source.name
        if source.format == "jsonl":
            return read_jsonl(file, name, options.columns, self.bad)
        if source.format in ("csv", "tsv"):
            delimiter = options.delimiter or ("\t" if source.format == "tsv" else None)
            return read_delimited(file, name, delimiter, options.columns, self.bad)
        if source.format == "md":
            return read_markdown(file, name, self.bad, split=options.headings)
        return read_lines(file, name, self.bad) if options.lines else read_whole(file, name, self.bad)
