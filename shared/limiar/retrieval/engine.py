"""The tantivy side of `BM25Index`: terms in, ids and scores out. Imported where an index is opened, not before.

Texts come as terms that our analyzer made, joined by spaces, so tantivy splits and decides nothing. Metadata comes as
`filter_terms`, in hexadecimal, so ranges are ranges of terms. `key` numbers the documents in the order they were added.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from operator import neg
from pathlib import Path

from limiar.errors import MissingExtraError, StoreDamagedError, StoreError, StoreVersionError, StoreWriteError
from limiar.retrieval.documents import Hit
from limiar.retrieval.filters import AllMatch, AnyMatches, AnyOf, Between, Filter

try:
    import tantivy
    from tantivy import Occur, Query
except ImportError as error:
    _FEATURE = "a BM25 index on disk"
    raise MissingExtraError(_FEATURE, "bm25") from error

_HEAP_BYTES = 64 << 20
_LONGEST_TERM = 256
_IDS_KEPT = 1_000_000
_META = "meta.json"
_ATTEMPTS = 5


class Snapshot:
    """One commit as a reader sees it, with the ids that searches have looked up so far, by key."""

    def __init__(self, searcher: tantivy.Searcher, stamp: tuple[int, int]) -> None:
        self.searcher = searcher
        self.stamp = stamp
        self._ids: dict[int, str] = {}

    def keys_and_ids(self, addresses: Sequence[tantivy.DocAddress]) -> tuple[list[int], list[str]]:
        """The key and id of each document."""
        if len(self._ids) > _IDS_KEPT:
            self._ids = {}
        known = self._ids
        keys: list[int] = self.searcher.fast_field_values("key", list(addresses))  # type: ignore[assignment]
        for key, address in zip(keys, addresses, strict=True):
            if key not in known:
                known[key] = str(self.searcher.doc(address).get_first("id"))
        return keys, [known[key] for key in keys]


class Engine:
    """A tantivy index in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        stamp = _stamp(folder)
        self._index = _open(folder)
        self._schema = self._index.schema
        self._writer: tantivy.IndexWriter | None = None
        self._next_key = 0
        self._pending: set[str] = set()
        self._snapshot = Snapshot(self._index.searcher(), stamp)

    @classmethod
    def create(cls, folder: Path, fields: int) -> Engine:
        """An empty index in a new folder."""
        schema = tantivy.SchemaBuilder()
        schema.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
        schema.add_text_field("filter", tokenizer_name="raw", index_option="basic")
        schema.add_integer_field("key", fast=True)
        for number in range(fields):
            schema.add_text_field(_field(number), tokenizer_name="whitespace", index_option="freq")
        with guard(folder, StoreWriteError):
            folder.mkdir()
            tantivy.Index(schema.build(), path=str(folder))
            return cls(folder)

    @classmethod
    def open(cls, folder: Path) -> Engine:
        """The index in `folder`."""
        with guard(folder, StoreDamagedError):
            return cls(folder)

    # Reading

    def refresh(self) -> Snapshot:
        """The newest commit; the same object as long as there is no newer one."""
        try:
            stamp = _stamp(self._folder)
        except OSError as error:
            msg = f"{self._folder} cannot be read any more ({error.strerror})"
            raise StoreDamagedError(msg) from error
        if stamp != self._snapshot.stamp:
            with guard(self._folder, StoreDamagedError):
                try:
                    self._index.reload()
                except ValueError:
                    self._index = _open(self._folder)
                self._snapshot = Snapshot(self._index.searcher(), stamp)
        return self._snapshot

    def search(self, terms: Mapping[tuple[int, str], float], k: int, condition: Filter | None) -> list[Hit]:
        """The best `k` documents that hold one of the terms, given as (field, term) with their weights."""
        with guard(self._folder, StoreDamagedError):
            snapshot = self.refresh()
            limit = min(k, snapshot.searcher.num_docs)
            if not terms or not limit:
                return []
            query = Query.boolean_query([(Occur.Should, self._term(*term, weight)) for term, weight in terms.items()])
            if condition is not None:
                passing = Query.const_score_query(self._condition(condition), 0.0)
                query = Query.boolean_query([(Occur.Must, query), (Occur.Must, passing)])
            hits = snapshot.searcher.search(query, limit, count=False).hits
            if not hits:
                return []
            scores, addresses = zip(*hits, strict=True)
            keys, ids = snapshot.keys_and_ids(addresses)
        best_first = sorted(zip(map(neg, scores), keys, ids, strict=True))
        return [Hit(identity, -negative) for negative, _, identity in best_first]

    def ids(self, condition: Filter | None) -> list[str]:
        """The ids of the documents that pass, in the order in which they were added."""
        with guard(self._folder, StoreDamagedError):
            keys, ids = self._find(Query.all_query() if condition is None else self._condition(condition))
        return [identity for _, identity in sorted(zip(keys, ids, strict=True))]

    def present(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are in the newest commit."""
        if not ids:
            return set()
        with guard(self._folder, StoreDamagedError):
            return set(self._find(Query.term_set_query(self._schema, "id", ids))[1])

    def _find(self, query: Query) -> tuple[list[int], list[str]]:
        snapshot = self.refresh()
        limit = max(1, snapshot.searcher.num_docs)
        return snapshot.keys_and_ids(
            [address for _, address in snapshot.searcher.search(query, limit, count=False).hits]
        )

    def _term(self, field: int, term: str, weight: float) -> Query:
        query = Query.term_query(self._schema, _field(field), _shortened(term), index_option="freq")
        return query if weight == 1.0 else Query.boost_query(query, weight)

    def _condition(self, condition: Filter) -> Query:
        if isinstance(condition, AnyOf):
            terms = [term.hex() for term in condition.terms]
            return Query.term_set_query(self._schema, "filter", terms) if terms else Query.empty_query()
        if isinstance(condition, Between):
            opening, closing = "{["[condition.include_lower], "}]"[condition.include_upper]
            bounds = f"{opening}{condition.lower.hex()} TO {condition.upper.hex()}{closing}"
            return self._index.parse_query(f"filter:{bounds}", ["filter"])
        if isinstance(condition, AllMatch):
            return Query.boolean_query([(Occur.Must, self._condition(part)) for part in condition.parts])
        if isinstance(condition, AnyMatches):
            return Query.boolean_query([(Occur.Should, self._condition(part)) for part in condition.parts])
        excluded = self._condition(condition.part)
        return Query.boolean_query([(Occur.Must, Query.all_query()), (Occur.MustNot, excluded)])

    # Writing: `put` and `remove`, then `commit` or `abort`

    def put(self, identity: str, texts: Mapping[int, Sequence[str]], filters: frozenset[bytes]) -> None:
        """Add a document, or replace the one with its id."""
        writer = self._begin()
        if identity in self._pending or self._snapshot.searcher.doc_freq("id", identity):
            writer.delete_documents_by_term("id", identity)
        self._pending.add(identity)
        document = tantivy.Document()
        document.add_text("id", identity)
        document.add_integer("key", self._next_key)
        self._next_key += 1
        for number, terms in texts.items():
            document.add_text(_field(number), " ".join(map(_shortened, terms)))
        for term in filters:
            document.add_text("filter", term.hex())
        writer.add_document(document)

    def remove(self, identity: str) -> None:
        """Delete the document with this id, if there is one."""
        self._begin().delete_documents_by_term("id", identity)

    def commit(self) -> None:
        """Make what was put and removed durable and visible."""
        if self._writer is not None:
            self._writer.commit()
            self._pending.clear()
            self.refresh()

    def abort(self) -> None:
        """Forget what was put and removed since the last commit, and free its space."""
        writer, self._writer = self._writer, None
        self._pending.clear()
        if writer is not None:
            with contextlib.suppress(ValueError):
                writer.rollback()
            del writer
            with contextlib.suppress(ValueError):
                self._begin()

    def close(self) -> None:
        """Let background merges end, and free the engine's lock."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with guard(self._folder, StoreWriteError):
                writer.wait_merging_threads()

    def _begin(self) -> tantivy.IndexWriter:
        if self._writer is None:
            self._writer = self._index.writer(_HEAP_BYTES, 1)
            self._writer.garbage_collect_files()
            searcher = self.refresh().searcher
            last = searcher.search(Query.all_query(), 1, count=False, order_by_field="key").hits
            self._next_key = int(last[0][0]) + 1 if last else 0
        return self._writer

    # Health

    def verify(self) -> None:
        """Compare every file of the newest commit with the checksum in its footer."""
        with guard(self._folder, StoreDamagedError):
            meta = json.loads((self._folder / _META).read_bytes())
            segments = {str(segment["segment_id"]).replace("-", "") for segment in meta["segments"]}
            for path in sorted(self._folder.iterdir()):
                if path.name.partition(".")[0] in segments and not _is_whole(path.read_bytes()):
                    msg = f"{path} is damaged (its checksum differs); restore it from a backup, or rebuild the index"
                    raise StoreDamagedError(msg)


@contextlib.contextmanager
def guard(folder: Path, failure: type[StoreError]) -> Iterator[None]:
    """Turn what tantivy raises, panics included, into an error of ours that names the folder."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        if "IncompatibleIndex" in str(error):
            msg = f"{folder} was written by another version of tantivy; use that version, or rebuild the index"
            raise StoreVersionError(msg) from error
        raise failure(_explained(folder, failure, error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise failure(_explained(folder, failure, error)) from error


def _explained(folder: Path, failure: type[StoreError], error: BaseException) -> str:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    if failure is not StoreWriteError:
        return f"{folder} cannot be read ({reason}); restore it from a backup, or rebuild the index"
    with contextlib.suppress(OSError):
        reason += f"; {shutil.disk_usage(folder).free >> 20} MB are free there"
    return f"{folder} cannot be written ({reason}); what was committed before is kept"


def _open(folder: Path) -> tantivy.Index:
    """Open for reading, also where the folder is read-only and tantivy cannot take its lock file."""
    try:
        return _opened(folder)
    except ValueError as error:
        if "Lockfile" not in str(error):
            raise
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(ValueError):
            return _open_by_links(folder)
    return _open_by_links(folder)


def _open_by_links(folder: Path) -> tantivy.Index:
    """Open the files by links from a temporary folder, which can go as soon as they are open.

    Without the lock, a writer may remove a file just before it is opened.
    """
    with tempfile.TemporaryDirectory(prefix="limiar-") as links:
        for path in folder.resolve().iterdir():
            if path.suffix != ".lock":
                (Path(links) / path.name).symlink_to(path)
        return _opened(Path(links))


def _opened(folder: Path) -> tantivy.Index:
    index = tantivy.Index.open(str(folder))
    index.config_reader(reload_policy="manual")
    return index


def _stamp(folder: Path) -> tuple[int, int]:
    """Differs from commit to commit: each writes a new file in the old one's place."""
    status = os.stat(f"{folder}/{_META}")  # noqa: PTH116 (at every search: pathlib takes 5 us)
    return status.st_mtime_ns, status.st_ino


def _field(number: int) -> str:
    return f"text{number}"


def _shortened(term: str) -> str:
    """A term that tantivy can hold: of a very long one (a line of base64), its beginning and its digest."""
    if len(term) <= _LONGEST_TERM:
        return term
    return f"{term[:_LONGEST_TERM]}#{hashlib.sha256(term.encode()).hexdigest()}"


def _is_whole(data: bytes) -> bool:
    """Tantivy's footer: a JSON object with the body's CRC-32, the object's length and a magic number, 4 bytes each."""
    length = int.from_bytes(data[-8:-4], "little")
    body, footer = data[: -8 - length], data[-8 - length : -8]
    try:
        return int(json.loads(footer)["crc"]) == zlib.crc32(body)
    except (ValueError, KeyError, TypeError):
        return False
