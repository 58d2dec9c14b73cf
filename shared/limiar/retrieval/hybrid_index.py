"""BM25 and vectors over the same documents, in one folder."""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from limiar.embeddings.protocol import Encoder
from limiar.embeddings.resolve import choose_encoder
from limiar.errors import ConfigurationError, StoreError, StoreWriteError
from limiar.retrieval.arms import OnArmError, in_arm_thread
from limiar.retrieval.bm25 import BM25Index
from limiar.retrieval.chroma import ChromaVectors, check_place
from limiar.retrieval.document_store import DocumentStore, StoredDocument
from limiar.retrieval.documents import IndexDocument, check_ids, checked_fields
from limiar.retrieval.fusion import DEFAULT_RRF_K, FusionMethod
from limiar.retrieval.index_arms import UNUSABLE, Bm25Arm, DenseArm, IndexArm
from limiar.retrieval.index_health import IndexHealth, examine, mend
from limiar.retrieval.index_results import AddReport, HybridResult, HybridStats
from limiar.retrieval.index_schema import TEXT, IndexSchema, schema_of
from limiar.retrieval.index_search import IndexSearcher
from limiar.retrieval.index_settings import (
    BM25_FOLDER,
    BY_CLIENT,
    CHROMA_FOLDER,
    DOCUMENTS_FILE,
    FILES,
    FORMAT,
    FORMAT_VERSION,
    IN_FOLDER,
    saved_place,
    saved_settings,
    settings_to_save,
)
from limiar.retrieval.index_vectors import TextVectors
from limiar.retrieval.index_writer import IndexProgress, IndexWriter
from limiar.retrieval.store import clear_unfinished, lock_for_writing, read_manifest, write_manifest
from limiar.text.analyzer import Analyzer

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from filelock import BaseFileLock
    from typing_extensions import Self

logger = logging.getLogger("limiar")

DEFAULT_CANDIDATES = 100


class HybridIndex:
    """Documents by id, found by BM25 and by vectors; made by `create`, reopened by `open`.

    One process writes; others may read meanwhile. The texts, the metadata and each text's vector are kept in SQLite;
    the BM25 index and the vectors in Chroma follow it, and can be checked and made anew from it (`verify`, `repair`).
    A write that fails or is killed leaves each of its batches whole or absent. Objects may be shared by threads.

    Example:
        >>> from limiar import HybridIndex, IndexDocument
        >>> with HybridIndex.create("index") as index:  # doctest: +SKIP
        ...     index.add([IndexDocument("1", {"text": "Licitação dispensada"}, {"year": 2020})])
        ...     index.search("contratação direta", k=10, filter={"year": {"$gte": 2019}})
    """

    def __init__(
        self,
        folder: Path,
        schema: IndexSchema,
        analyzer: Analyzer,
        encoder: Encoder,
        place: Path | str | ClientAPI,
        collections: Mapping[str, str],
        lock: BaseFileLock | None,
    ) -> None:
        read_only = lock is None
        self._folder = folder
        self._schema = schema
        self._analyzer = analyzer
        self._encoder = encoder
        self._place = place
        self._lock = lock
        self._store = DocumentStore(folder / DOCUMENTS_FILE, read_only=read_only)
        self._vectors = TextVectors(self._store, encoder)
        self._bm25 = Bm25Arm(folder / BM25_FOLDER, schema, analyzer, read_only=read_only)
        self._dense = DenseArm(place, collections, self._vectors)
        self._arms: tuple[IndexArm, ...] = (self._bm25, self._dense)
        self._writer = IndexWriter(self._store, schema, self._arms, self._vectors)
        self._searcher = IndexSearcher(self._store, schema, self._bm25, self._dense, self._vectors, follow=read_only)
        self._writing = threading.Lock()
        self._closed = False

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        fields: Mapping[str, float] | Sequence[str] = (TEXT,),
        views: Sequence[str] | Mapping[str, Sequence[str]] = (TEXT,),
        text_weight: int = 1,
        analyzer: Analyzer | None = None,
        encoder: Encoder | None = None,
        chroma: str | ClientAPI | None = None,
    ) -> HybridIndex:
        """Make an empty index and open it for writing.

        Args:
            folder: a new or empty folder.
            fields: the names of the text fields, or name to BM25 weight (1 by default); "text" is one of them. Saved.
            views: what the arms can look into: "text", the fields above; "keywords", the texts that were generated from
                them (see `set_generated`); "both", the two as one text. For both arms, or by arm. Saved.
            text_weight: how often the original text stands in the view "both". Saved.
            analyzer: for documents and queries; Portuguese by default. Saved.
            encoder: makes the vectors; None for the one inside the package. Its name is saved.
            chroma: None keeps the vectors in a folder inside `folder`; or a server's address, which is saved; or a
                Chroma client, which must be given again to `open`. A server sees vectors, no texts.

        Raises:
            ConfigurationError: a parameter is out of range.
            StoreError: the folder holds something else (also an index), is locked or cannot be written, or the server
                does not answer.
            MissingExtraError: tantivy or chromadb is not installed.
        """
        folder = Path(folder)
        schema = schema_of(checked_fields(fields), views, text_weight)
        check_place(chroma)
        chosen = choose_encoder(None, encoder)
        analyzer = analyzer or Analyzer()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"{folder} cannot be made ({error.strerror})"
            raise StoreWriteError(msg) from error
        lock = lock_for_writing(folder)
        try:
            clear_unfinished(folder, FILES)
            place = folder / CHROMA_FOLDER if chroma is None else chroma
            name = f"limiar-{uuid.uuid4().hex}"
            collections = {vector: f"{name}-{vector}" for vector in schema.views["dense"]}
            ChromaVectors(place, collections, create=True).close()
            BM25Index.create(folder / BM25_FOLDER, fields=schema.bm25_fields, analyzer=analyzer).close()
            DocumentStore.create(folder / DOCUMENTS_FILE).close()
            facts = settings_to_save(schema, analyzer.language, chosen.model_id, chroma, collections)
            write_manifest(folder, FORMAT, FORMAT_VERSION, facts)
            return cls(folder, schema, analyzer, chosen, place, collections, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        read_only: bool = False,
        encoder: Encoder | None = None,
        chroma: str | ClientAPI | None = None,
    ) -> HybridIndex:
        """Open an index with the settings that it was made with.

        An arm that is damaged, or whose server does not answer, is logged and does not prevent opening: searches may
        skip it (`on_error="skip"`), `verify` names it, `repair` makes it anew.

        Args:
            folder: of the index.
            read_only: search only; any number of processes may, also while one writes. They see what it wrote at their
                next search.
            encoder: the one that the index was made with; None for the one inside the package.
            chroma: a server that has moved, or the client if the index was made with one; None for what was saved.

        Raises:
            StoreNotFoundError: there is no index.
            StoreLockedError: another writer has it open, and `read_only` is false.
            StoreWriteError: the folder is read-only, and `read_only` is false.
            StoreDamagedError: the manifest or the documents cannot be read, or are not an index of this kind.
            StoreVersionError: a newer limiar wrote it.
            ConfigurationError: it was made with another encoder, or with a client that is not given.
            MissingExtraError: tantivy or chromadb is not installed.
        """
        folder = Path(folder)
        check_place(chroma)
        manifest = read_manifest(folder, FORMAT, FORMAT_VERSION)
        schema, analyzer, collections = saved_settings(folder, manifest)
        chosen = choose_encoder(None, encoder)
        if manifest.get("encoder") != chosen.model_id:
            msg = (
                f"{folder} was made with the encoder {manifest.get('encoder')!r}, not {chosen.model_id!r}; give that "
                "one as encoder="
            )
            raise ConfigurationError(msg)
        place = saved_place(folder, manifest.get("chroma"), chroma)
        lock = None if read_only else lock_for_writing(folder)
        try:
            index = cls(folder, schema, analyzer, chosen, place, collections, lock)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        try:
            _open_arm(index._bm25)
            _open_arm(index._dense)
        except BaseException:
            index.close()
            raise
        return index

    @property
    def folder(self) -> Path:
        """Where the index is."""
        return self._folder

    @property
    def schema(self) -> IndexSchema:
        """The fields and what each arm sees of them."""
        return self._schema

    @property
    def analyzer(self) -> Analyzer:
        """What turns documents and queries into terms."""
        return self._analyzer

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the arms."""
        return (self._bm25.name, self._dense.name)

    @property
    def fields(self) -> dict[str, float]:
        """The original fields and their BM25 weights."""
        return dict(self._schema.fields)

    @property
    def read_only(self) -> bool:
        """Whether writes are refused."""
        return self._lock is None

    # Writing

    def add(self, documents: Iterable[IndexDocument], *, progress: IndexProgress | None = None) -> AddReport:
        """Add documents, and replace those whose id is there.

        They are read as they come and written in batches of 500. When this returns, all are on disk and searchable; if
        it raises or the process dies, the batches before are, the one under way is not, and vectors that were made for
        it are kept. A text that the index has already is not embedded again.

        Args:
            documents: read once. Of two with one id in a batch, the last wins.
            progress: called with (done, total) documents; total is None if `documents` has no length.

        Raises:
            InputError: a document cannot be used; the message gives its position.
            EncoderError: the encoder failed.
            StoreWriteError: the index is read-only, or the disk is full.
            StoreUnreachableError: the Chroma server does not answer.
        """
        total = len(documents) if isinstance(documents, Sequence) else None
        with self._for_writing() as writer:
            return writer.add(self._schema.records(documents), total, progress or _unseen)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents by id, with their texts and vectors; ids that are not there are passed over.

        Returns:
            How many documents were deleted.

        Raises:
            InputError: an id cannot be one.
            StoreWriteError: the index is read-only, or the disk is full.
            StoreUnreachableError: the Chroma server does not answer. The documents are deleted all the same, and no
                search finds them; the next write or `repair` removes the vectors.
        """
        checked = list(dict.fromkeys(check_ids(ids)))
        with self._for_writing() as writer:
            return writer.delete(checked)

    def set_generated(
        self, texts: Mapping[str, Mapping[str, str]], *, progress: IndexProgress | None = None
    ) -> AddReport:
        """Give documents the texts that were made from them, in place of those that they had.

        They are kept as long as the document's own texts stay the same, and are searched like fields of their own.

        Args:
            texts: by id, by field (see `limiar.retrieval.index_schema.GENERATED_FIELDS`).
            progress: as for `add`.

        Raises:
            ConfigurationError: the index was made without a view of generated texts.
            InputError: a field or an id is unknown, or a text is not a string.
            StoreWriteError, StoreUnreachableError, EncoderError: as for `add`.
        """
        with self._for_writing() as writer:
            checked = self._schema.check_generated(texts)
            check_ids(checked)
            return writer.set_generated(checked, progress or _unseen)

    @contextlib.contextmanager
    def _for_writing(self) -> Iterator[IndexWriter]:
        with self._writing:
            self._check_open()
            if self._lock is None:
                msg = f"the index in {self._folder} is open read-only; open it with read_only=False to write"
                raise StoreWriteError(msg)
            self._writer.clear_trash()
            yield self._writer

    # Searching

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        index_on: str | Mapping[str, str] | None = None,
        candidates: int = DEFAULT_CANDIDATES,
        weights: Mapping[str, float] | None = None,
        field_weights: Mapping[str, float] | None = None,
        fusion: FusionMethod = "relative",
        rrf_k: int = DEFAULT_RRF_K,
        timeout: float | None = None,
        on_error: OnArmError = "raise",
    ) -> HybridResult:
        """Ask the arms in parallel and fuse what they find.

        Args:
            query: text to look for.
            k: at most so many documents.
            filter: only documents whose metadata pass: see `limiar.retrieval.filters`. Both arms apply it before they
                count, so `k` documents come back if there are so many.
            index_on: the view to search, or by arm: "text", "keywords" or "both"; None for the richest that the index
                has.
            candidates: how many each arm brings; at least `k`.
            weights: arm name ("bm25", "dense") to weight; 1 for arms not named. One with weight 0 is not asked.
            field_weights: BM25 field to weight, for this search: original fields, "keywords", "questions", "statement"
                and "both", as far as the index has them. Fields not named keep what `index_on` gives them.
            fusion: "rrf", "relative" or "distribution"; see `limiar.fuse`.
            rrf_k: the constant of "rrf".
            timeout: seconds that each arm may take.
            on_error: "raise" `ArmError` for an arm that fails or is late, or "skip" it, with the reason in the result.

        Raises:
            InputError: the query is blank or not text, or the filter cannot be used.
            ConfigurationError: a parameter is out of range.
            ArmError: an arm failed or was late and `on_error="raise"`, or no arm is left.
        """
        self._check_open()
        return self._searcher.search(
            query,
            k,
            where=filter,
            index_on=index_on,
            candidates=candidates,
            weights=weights,
            field_weights=field_weights,
            fusion=fusion,
            rrf_k=rrf_k,
            timeout=timeout,
            on_error=on_error,
        )

    async def asearch(self, query: str, k: int = 10, **options: Any) -> HybridResult:
        """`search` in threads of its own, off the event loop."""
        return await in_arm_thread(lambda: self.search(query, k, **options))

    # Looking up

    def get(self, ids: Iterable[str]) -> list[StoredDocument]:
        """The documents with these ids, in this order; ids that are not there are passed over."""
        self._check_open()
        checked = check_ids(ids)
        found = self._store.get(checked)
        return [found[identity] for identity in checked if identity in found]

    def ids(self) -> list[str]:
        """Every id, in the order in which the present versions were added."""
        self._check_open()
        return self._store.ids()

    def __len__(self) -> int:
        self._check_open()
        return self._store.count()

    def __contains__(self, identity: object) -> bool:
        return isinstance(identity, str) and bool(self.get([identity]))

    # Health

    def verify(self) -> IndexHealth:
        """Check every file, and compare the arms with the documents.

        Raises:
            StoreDamagedError: the documents themselves are damaged.
        """
        self._check_open()
        return examine(self._store, self._arms)

    def repair(self, *, progress: Callable[[int, int], None] | None = None) -> IndexHealth:
        """Make the arms hold exactly the documents, and make an arm that cannot be read afresh. No text is lost.

        Vectors that the store has are not made again.

        Args:
            progress: called with (done, total) of the documents that arms lacked.

        Returns:
            The health afterwards.

        Raises:
            StoreDamagedError: the documents themselves are damaged: restore the folder from a backup.
            StoreWriteError: the index is read-only, or the disk is full.
            StoreUnreachableError: the Chroma server does not answer.
        """
        with self._writing:
            self._check_open()
            if self._lock is None:
                msg = f"the index in {self._folder} is open read-only; open it with read_only=False to repair it"
                raise StoreWriteError(msg)
            mend(self._store, self._schema, self._arms, progress)
        return self.verify()

    def stats(self) -> HybridStats:
        """The size of the index and what it was made with."""
        self._check_open()
        size = 0
        for path in self._folder.rglob("*"):
            with contextlib.suppress(OSError):
                size += path.stat().st_size
        place = self._place
        return HybridStats(
            documents=len(self),
            size_bytes=size,
            fields=dict(self._schema.fields),
            language=self._analyzer.language,
            encoder=self._encoder.model_id,
            views=dict(self._schema.views),
            place=place if isinstance(place, str) else (IN_FOLDER if isinstance(place, Path) else BY_CLIENT),
        )

    def close(self) -> None:
        """Free the files and the lock. May be called twice."""
        with self._writing:
            if self._closed:
                return
            self._closed = True
            with contextlib.ExitStack() as closing:
                if self._lock is not None:
                    closing.callback(self._lock.release)
                closing.callback(self._store.close)
                for arm in self._arms:
                    closing.callback(arm.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        fields, encoder = dict(self._schema.fields), self._encoder.model_id
        return f"HybridIndex({str(self._folder)!r}, fields={fields}, encoder={encoder!r})"

    def _check_open(self) -> None:
        if self._closed:
            msg = f"the index in {self._folder} is closed; open it again"
            raise StoreError(msg)


def _open_arm(arm: Bm25Arm | DenseArm) -> None:
    """Open the arm if it can be: one that cannot does not prevent the other from being used."""
    try:
        arm.open()
    except UNUSABLE as error:
        logger.warning("arm %s of the index cannot be used (%s); see verify()", arm.name, type(error).__name__)


def _unseen(done: int, total: int | None) -> None:
    """No progress is asked for."""
