"""What `limiar expand` expands: the documents of an index, or of files."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from limiar.cli.encoders import saved_encoder
from limiar.cli.reading import read_options
from limiar.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from limiar import HybridIndex
    from limiar.cli.documents.reader import DocumentReader
    from limiar.cli.documents.sources import Sources

Documents = Iterable[tuple[str, str]]


def index_folder(paths: list[str]) -> Path | None:
    """The folder of the index that the paths name; None if they are files.

    Raises:
        ConfigurationError: an index and something else.
    """
    from limiar.retrieval.store import MANIFEST

    for path in paths:
        if (Path(path) / MANIFEST).exists():
            if len(paths) > 1:
                msg = f"{path} is an index; expected one index alone, or files"
                raise ConfigurationError(msg)
            return Path(path)
    return None


@contextmanager
def opened_documents(args: argparse.Namespace, folder: Path | None) -> Iterator[Documents]:
    """The documents, to be read as often as needed; those of standard input once only.

    Raises:
        ConfigurationError: the index has no view for generated texts.
        InputError: the files cannot be used.
        StoreError: the index cannot be opened.
    """
    if folder is None:
        yield file_texts(args)
        return
    from limiar import HybridIndex, IndexTexts

    with HybridIndex.open(folder, read_only=True, encoder=saved_encoder(folder)) as index:
        if not args.no_apply:
            check_takes_words(folder, index)
        yield IndexTexts(index)


def check_takes_words(folder: Path, index: HybridIndex) -> None:
    """Nothing, if generated words can be written into the index.

    Raises:
        ConfigurationError: it has no view for them.
    """
    if not index.schema.takes_generated:
        msg = (
            f"{folder} was made without a view of generated texts: make one with `limiar index ... --views "
            "text,both`, or fill the store alone with `limiar expand --no-apply`"
        )
        raise ConfigurationError(msg)


def file_texts(args: argparse.Namespace) -> Documents:
    """The documents of the files that are named; counted now, so that what cannot be read is met before any call."""
    from limiar.cli.documents.sources import STANDARD_INPUT, find_sources

    if args.offline and STANDARD_INPUT in args.paths:
        msg = "--offline reads the documents more than once, which standard input cannot; name a file"
        raise ConfigurationError(msg)
    texts = FileTexts(args, find_sources(args.paths, format=args.format, base=args.base))
    return iter(texts) if STANDARD_INPUT in args.paths else texts.counted()


class FileTexts:
    """Id and text of each document of files: title and text together, as an index by `limiar index` embeds them."""

    def __init__(self, args: argparse.Namespace, sources: Sources) -> None:
        self._args = args
        self._sources = sources
        self._count: int | None = None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for document in self._reader():
            fields = (document.fields.get(name, "") for name in ("title", "text"))
            yield document.id, "\n".join(text for text in fields if text.strip())

    def __len__(self) -> int:
        if self._count is None:
            self._count = sum(1 for _ in self)
        return self._count

    def counted(self) -> FileTexts:
        """Itself.

        Raises:
            InputError: there are no documents, or a line cannot be used.
        """
        if not len(self):
            msg = "the input holds no documents; expected at least one"
            raise InputError(msg)
        return self

    def _reader(self) -> DocumentReader:
        from limiar.cli.documents.bad_lines import BadLines
        from limiar.cli.documents.reader import DocumentReader

        return DocumentReader(self._sources, read_options(self._args), BadLines(skip=self._args.skip_bad_lines))
