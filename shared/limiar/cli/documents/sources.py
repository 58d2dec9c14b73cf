"""From the paths on a command line to the files to read, in a settled order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from limiar.errors import InputError

FORMATS = ("jsonl", "csv", "tsv", "txt", "md")
STANDARD_INPUT = "-"

_FORMAT_OF = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".txt": "txt", ".md": "md"}
_BEIR = {"corpus.jsonl", "queries.jsonl"}


@dataclass(frozen=True)
class Source:
    """Something to read.

    Attributes:
        path: the file; None for standard input.
        name: for ids and messages.
        format: one of `FORMATS`.
        size: in bytes; None if it is not known.
    """

    path: Path | None
    name: str
    format: str
    size: int | None


@dataclass(frozen=True)
class Sources:
    """What there is to read, and how many files in the folders have a format that limiar does not read."""

    found: tuple[Source, ...]
    passed_over: int

    @property
    def size(self) -> int | None:
        """Of all together, in bytes; None if one is not known."""
        sizes = [source.size for source in self.found]
        return None if None in sizes else sum(size or 0 for size in sizes)


def find_sources(
    paths: Sequence[str],
    *,
    format: str | None = None,  # noqa: A002
    base: Path | None = None,
    without: Path | None = None,
) -> Sources:
    """The files that are named and those in the folders that are named, each once.

    Folders are read with all that is in them, sorted by name; hidden files and folders, linked folders and files with
    other endings are passed over. Of a folder with `corpus.jsonl` and `queries.jsonl`, which is a BEIR collection, the
    corpus alone is read.

    Args:
        paths: files, folders, and "-" for standard input.
        format: of files named one by one, whatever their ending, and of standard input (by default "jsonl").
        base: names of files are relative to it, if they are in it; the working folder by default.
        without: a folder to leave out: that of the index.

    Raises:
        InputError: a path does not exist, cannot be read or has an ending that says nothing.
    """
    base = Path(os.path.abspath(base or "."))  # noqa: PTH100 - a link keeps the name that it is called by
    found: dict[object, Source] = {}
    passed_over = 0
    for text in paths:
        if text == STANDARD_INPUT:
            found[STANDARD_INPUT] = Source(None, "stdin", format or "jsonl", None)
            continue
        path = Path(text)
        if path.is_dir():
            files = list(_files_in(path, without.resolve() if without else None))
            known = [(file, _FORMAT_OF[file.suffix.lower()]) for file in files if file.suffix.lower() in _FORMAT_OF]
            passed_over += len(files) - len(known)
        else:
            known = [(path, format or _format_of(path))]
        for file, kind in known:
            found.setdefault(file.resolve(), Source(file, _name(file, base), kind, _size(file)))
    return Sources(tuple(found.values()), passed_over)


def _files_in(folder: Path, without: Path | None) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, onerror=_cannot_be_read):
        here = Path(place)
        beir = set(files) >= _BEIR
        inside = () if beir else (name for name in folders if (here / name).resolve() != without)
        folders[:] = sorted(_visible(inside))
        yield from (here / name for name in sorted(_visible(files)) if not beir or name == "corpus.jsonl")


def _visible(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith(".")]


def _cannot_be_read(error: OSError) -> None:
    msg = f"{error.filename} cannot be read ({error.strerror})"
    raise InputError(msg) from error


def _format_of(path: Path) -> str:
    kind = _FORMAT_OF.get(path.suffix.lower())
    if kind is None:
        if not path.exists():
            _size(path)
        msg = f"{path} has no ending that limiar knows ({', '.join(_FORMAT_OF)}); name its format with --format"
        raise InputError(msg)
    return kind


def _size(path: Path) -> int | None:
    """Of a file; None for a pipe or a device, whose size says nothing."""
    try:
        size = path.stat().st_size
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror})"
        raise InputError(msg) from error
    return size if path.is_file() else None


def _name(path: Path, base: Path) -> str:
    """Relative to `base` with forward slashes if it is in it; the same for every way to write one path."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100
    name = whole.relative_to(base) if whole.is_relative_to(base) else whole
    return os.fsencode(name.as_posix()).decode("utf-8", "replace")
