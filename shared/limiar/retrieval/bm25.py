"""A BM25 index on disk."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from limiar.errors import (
    ConfigurationError,
    InputError,
    InputTypeError,
    StoreDamagedError,
    StoreError,
    StoreVersionError,
    StoreWriteError,
)
from limiar.inputs import encodable
from limiar.retrieval.checks import check_count, check_weights
from limiar.retrieval.documents import Hit, IndexDocument, check_documents, check_ids, checked_fields
from limiar.retrieval.filters import parse_filter
from limiar.retrieval.store import MANIFEST, clear_unfinished, lock_for_writing, read_manifest, write_manifest
from limiar.text.analyzer import Analyzer

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from typing_extensions import Self

    from limiar.retrieval.engine import Engine

FORMAT = "limiar-bm25"
FORMAT_VERSION = 1
_ENGINE = "tantivy"
_PROBE = (
    "As licitações públicas da Lei nº 8.666/93, art. 37, § 6º, Acórdão 1234/2020, de 12/05/1938: R$ 1.234,56; "
    "licitacao ilícita; ms-marco v1.28 C++ 10.0.0.1 os serviços contratados, the running services"
)


@dataclass(frozen=True)
class IndexStats:
    """The size of an index.

    Attributes:
        documents: how many documents there are.
        segments: in how many parts the engine keeps them.
        size_bytes: of all files.
        fields: the fields and their saved weights.
        language: of the analyzer.
    """

    documents: int
    segments: int
    size_bytes: int
    fields: Mapping[str, float]
    language: str


class BM25Index:
    """Documents by id in a folder, found by BM25; made by `create`, reopened by `open`.

    One process writes; any number of them read meanwhile, and see each commit at their next search. Every `add` and
    `delete` is one transaction: when it returns, it is on disk; if it raises or the process dies, nothing of it is
    there. Objects may be shared by threads.

    The score of a document is the sum over fields of the field's weight times BM25 (Robertson and Zaragoza, 2009) with
    k1 = 1.2 and b = 0.75, which tantivy fixes, with lengths rounded to 8 bits as in Lucene. Deleted documents count in
    term frequencies until a merge drops them. `OkapiBM25` is the exact reference.

    Example:
        >>> with BM25Index.create("index", fields={"title": 2.0, "text": 1.0}) as index:  # doctest: +SKIP
        ...     index.add([IndexDocument("1", {"text": "Licitação dispensada"}, {"year": 2020})])
        ...     index.search("licitações", k=10, filter={"year": {"$gte": 2019}})
    """

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        analyzer: Analyzer,
        fields: Mapping[str, float],
        lock: BaseFileLock | None,
    ) -> None:
        self._folder = folder
        self._engine = engine
        self._analyzer = analyzer
        self._fields = dict(fields)
        self._lock = lock
        self._closed = False
        self._writing_lock = threading.Lock()

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        fields: Mapping[str, float] | Sequence[str] = ("text",),
        analyzer: Analyzer | None = None,
    ) -> BM25Index:
        """Make an empty index and open it for writing.

        Args:
            folder: a new or empty folder.
            fields: the names of the text fields, or name to weight (1 by default). Saved.
            analyzer: for documents and queries; Portuguese by default. Saved.

        Raises:
            ConfigurationError: there is no field, or a weight is no finite number >= 0.
            StoreError: the folder holds something else (also an index), is locked or cannot be written.
            MissingExtraError: tantivy is not installed.
        """
        from limiar.retrieval.engine import Engine

        folder = Path(folder)
        analyzer = analyzer or Analyzer()
        weights = checked_fields(fields)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"{folder} cannot be made ({error.strerror})"
            raise StoreWriteError(msg) from error
        lock = lock_for_writing(folder)
        with _released_on_error(lock):
            clear_unfinished(folder, [_ENGINE])
            engine = Engine.create(folder / _ENGINE, len(weights))
            facts: dict[str, object] = {
                "engine": _ENGINE,
                "analyzer": {"language": analyzer.language, "fingerprint": _fingerprint(analyzer)},
                "fields": weights,
            }
            write_manifest(folder, FORMAT, FORMAT_VERSION, facts)
        return cls(folder, engine, analyzer, weights, lock)

    @classmethod
    def open(cls, folder: str | Path, *, read_only: bool = False) -> BM25Index:
        """Open an index, with the analyzer and the fields that it was made with.

        Args:
            folder: of the index.
            read_only: search only; any number of processes may, also while one writes.

        Raises:
            StoreNotFoundError: there is no index.
            StoreLockedError: another writer has it open, and `read_only` is false.
            StoreWriteError: the folder is read-only, and `read_only` is false.
            StoreDamagedError: its files cannot be read, or are not an index of this kind.
            StoreVersionError: a newer limiar, or another version of the engine or of the analyzer, wrote it.
            MissingExtraError: tantivy is not installed.
        """
        from limiar.retrieval.engine import Engine

        folder = Path(folder)
        manifest = read_manifest(folder, FORMAT, FORMAT_VERSION)
        analyzer, fields = _settings(folder, manifest)
        lock = None if read_only else lock_for_writing(folder)
        with _released_on_error(lock):
            engine = Engine.open(folder / _ENGINE)
        return cls(folder, engine, analyzer, fields, lock)

    @property
    def analyzer(self) -> Analyzer:
        """What turns documents and queries into terms."""
        return self._analyzer

    @property
    def fields(self) -> Mapping[str, float]:
        """The fields and their saved weights."""
        return dict(self._fields)

    @property
    def read_only(self) -> bool:
        """Whether `add` and `delete` are refused."""
        return self._lock is None

    def add(self, documents: Iterable[IndexDocument]) -> int:
        """Add documents, and replace those whose id is there; all of them or, if this raises, none.

        Args:
            documents: read once. Of two with one id, the last wins. For bulk loads, a few thousand a call.

        Returns:
            How many documents were given.

        Raises:
            InputError: a document cannot be used.
            StoreWriteError: the index is read-only or the disk is full.
        """
        count = 0
        numbers = {name: number for number, name in enumerate(self._fields)}
        with self._transaction() as engine:
            for document in check_documents(documents, self._fields):
                if document.generated:
                    msg = f"document {count} has generated texts, which only a HybridIndex takes; give them as fields"
                    raise InputError(msg)
                texts = {numbers[name]: self._terms(text) for name, text in document.fields.items()}
                with self._failing_write():
                    engine.put(document.id, texts, document.terms)
                count += 1
        return count

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents by id; ids that are not there are passed over.

        Returns:
            How many documents were deleted.

        Raises:
            InputError: an id cannot be one.
            StoreWriteError: the index is read-only or the disk is full.
        """
        checked = check_ids(ids)
        with self._transaction() as engine:
            there = engine.present(checked)
            with self._failing_write():
                for identity in there:
                    engine.remove(identity)
        return len(there)

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        weights: Mapping[str, float] | None = None,
    ) -> list[Hit]:
        """The best documents that hold at least one term of the query.

        Args:
            query: analysed as the documents were; one that is empty or has nothing but stop words finds nothing.
            k: at most so many.
            filter: only documents whose metadata pass: see `limiar.retrieval.filters`. Applied in the engine, so `k`
                of them come back if there are so many.
            weights: field to weight, for this search; fields not named keep their saved weight. 0 leaves a field out.

        Returns:
            Best first, equal scores in the order in which the documents were added.

        Raises:
            InputError: the query is not text, or the filter cannot be used.
            ConfigurationError: `k` or a weight is out of range.
            StoreDamagedError: the files cannot be read.
        """
        self._check_open()
        if not isinstance(query, str):
            msg = f"the query is {type(query).__name__}; expected a string"
            raise InputTypeError(msg)
        check_count("k", k)
        condition = parse_filter(filter)
        fields = self._fields if weights is None else check_weights("field", weights, self._fields, self._fields)
        counts = Counter(self._terms(query))
        terms = {
            (number, term): weight * count
            for number, weight in enumerate(fields.values())
            if weight
            for term, count in counts.items()
        }
        return self._engine.search(terms, k, condition)

    def ids(self, *, filter: Mapping[str, Any] | None = None) -> list[str]:  # noqa: A002
        """Every id, or those of the documents that pass the filter, in the order in which they were added.

        Raises:
            InputError: the filter cannot be used.
        """
        self._check_open()
        return self._engine.ids(parse_filter(filter))

    def verify(self) -> None:
        """Read every file and compare its checksum.

        Raises:
            StoreDamagedError: a file is damaged; it is named.
        """
        self._check_open()
        self._engine.verify()

    def stats(self) -> IndexStats:
        """The size of the index."""
        self._check_open()
        searcher = self._engine.refresh().searcher
        size = 0
        for path in self._folder.rglob("*"):
            with contextlib.suppress(OSError):
                size += path.stat().st_size
        return IndexStats(searcher.num_docs, searcher.num_segments, size, self.fields, self._analyzer.language)

    def close(self) -> None:
        """Free the files and the lock; a writer first lets background merges end. May be called twice."""
        with self._writing_lock:
            if not self._closed:
                self._closed = True
                with _released(self._lock):
                    self._engine.close()

    def __len__(self) -> int:
        self._check_open()
        return self._engine.refresh().searcher.num_docs

    def __contains__(self, identity: object) -> bool:
        self._check_open()
        return isinstance(identity, str) and bool(self._engine.present(check_ids([identity])))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"BM25Index({str(self._folder)!r}, fields={self._fields}, {self._analyzer})"

    def _terms(self, text: str) -> list[str]:
        return self._analyzer(encodable(text))

    def _check_open(self) -> None:
        if self._closed:
            msg = f"the index in {self._folder} is closed; open it again"
            raise StoreError(msg)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Engine]:
        """Commit what is done inside, or nothing of it."""
        with self._writing_lock:
            self._check_open()
            if self._lock is None:
                msg = f"the index in {self._folder} is open read-only; open it with read_only=False to write"
                raise StoreWriteError(msg)
            try:
                yield self._engine
                with self._failing_write():
                    self._engine.commit()
            except BaseException:
                self._engine.abort()
                raise

    def _failing_write(self) -> contextlib.AbstractContextManager[None]:
        from limiar.retrieval.engine import guard

        return guard(self._folder, StoreWriteError)


def _settings(folder: Path, manifest: Mapping[str, Any]) -> tuple[Analyzer, dict[str, float]]:
    """The analyzer and the fields that the manifest tells of."""
    try:
        saved = manifest["analyzer"]
        analyzer = Analyzer(saved["language"])
        fields = checked_fields(manifest["fields"])
        fingerprint = saved["fingerprint"]
    except (KeyError, TypeError, ConfigurationError) as error:
        msg = f"{folder / MANIFEST} is damaged ({error}); restore it from a backup, or rebuild the index"
        raise StoreDamagedError(msg) from error
    if fingerprint != _fingerprint(analyzer):
        msg = f"{folder} was written with another version of the {analyzer.language!r} analyzer; rebuild the index"
        raise StoreVersionError(msg)
    return analyzer, fields


def _fingerprint(analyzer: Analyzer) -> str:
    """Changes if a text that has tokens of every kind is analysed to other terms."""
    return hashlib.sha256("\n".join(analyzer(_PROBE)).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _released_on_error(lock: BaseFileLock | None) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if lock is not None:
            lock.release()
        raise


@contextlib.contextmanager
def _released(lock: BaseFileLock | None) -> Iterator[None]:
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
