"""The demo's first stage: its passages in a `HybridIndex`, with words written for them without a language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from limiar.demo.options import FIRST_STAGE_TOP
from limiar.errors import ConfigurationError, MissingExtraError, StoreNotFoundError
from limiar.evaluation.dataset import Passage
from limiar.keywords.entries import STORE_NAME
from limiar.keywords.indexing import IndexTexts, apply_expansions
from limiar.keywords.offline import OfflineGenerator
from limiar.keywords.offline_run import OfflineExpander
from limiar.keywords.store import ExpansionStore
from limiar.retrieval.documents import IndexDocument
from limiar.retrieval.hybrid_index import HybridIndex

if TYPE_CHECKING:
    from limiar.retrieval.document_store import StoredDocument
    from limiar.retrieval.index_results import AddReport

_OWNER = {"corpus": "limiar-demo"}
_VECTORS_ONLY = {"bm25": 0.0}
_VIEWS = ("text", "both")

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Hit:
    """A passage found.

    Attributes:
        passage: as it is in the corpus.
        words: what was written for it, as it is indexed; "" for nothing.
        rank: from 1, among the passages nearest to the question by the vectors of their texts: its place in what Chroma
            alone returns. None where so many were not asked for.
        cosine: of the two vectors; None where `rank` is.
    """

    passage: Passage
    words: str
    rank: int | None
    cosine: float | None


@dataclass(frozen=True)
class Found:
    """What the first stage found for a question.

    Attributes:
        nearest: by the vectors of the texts alone, nearest first: what a chain without limiar gets from Chroma.
        candidates: what limiar gets to rerank, best first.
    """

    nearest: tuple[Hit, ...]
    candidates: tuple[Hit, ...]


class DemoIndex:
    """The passages in a folder.

    Args:
        folder: made if missing; what it holds already is neither embedded nor expanded again.
        passages: all of them, with unique ids.

    Raises:
        MissingExtraError: chromadb or tantivy is not installed.
        ConfigurationError: the folder holds an index that no demo made.
        StoreError: it holds something else, cannot be written, or another demo is filling it.
    """

    def __init__(self, folder: Path, passages: Sequence[Passage]) -> None:
        self._folder = folder
        self._passages = {passage.id: passage for passage in passages}
        self._index = _opened(folder)
        try:
            _check_ours(folder, self._index)
        except BaseException:
            self._index.close()
            raise

    def fill(self, progress: Progress) -> AddReport:
        """Make the index hold exactly the passages.

        Args:
            progress: called with (done, total).
        """
        self._index.delete([id_ for id_ in self._index.ids() if id_ not in self._passages])
        return self._index.add(
            [
                IndexDocument(passage.id, {"text": passage.full_text}, {"title": passage.title, **_OWNER})
                for passage in self._passages.values()
            ],
            progress=progress,
        )

    def expand(self, progress: Progress) -> AddReport:
        """Write words for the passages that have none yet, from statistics and the encoder, and index them.

        Args:
            progress: called with (done, total), from start to end for each of the two steps.
        """
        store = ExpansionStore(self._folder / STORE_NAME)
        try:
            expander = OfflineExpander(OfflineGenerator(), store)
            expander.run(IndexTexts(self._index), learning=progress)
            return apply_expansions(self._index, store, expander.recipe, progress=progress)
        finally:
            store.close()

    def settle(self) -> None:
        """Write no more, so that others may; searches go on."""
        self._index.close()
        self._index = HybridIndex.open(self._folder, read_only=True)

    def search(self, question: str, count: int, *, by_words: bool) -> Found:
        """What Chroma alone finds for a question, and the `count` best by BM25 and vectors together.

        Args:
            question: text to look for.
            count: how many of each.
            by_words: whether the written words find candidates, too.
        """
        count = max(count, FIRST_STAGE_TOP)
        nearest = self._index.search(question, count, index_on="text", weights=_VECTORS_ONLY).hits
        places = {hit.document.id: (hit.fused.arms["dense"].rank, hit.fused.arms["dense"].score) for hit in nearest}
        best = self._index.search(question, count, index_on="both" if by_words else "text").hits
        return Found(
            tuple(self._hit(hit.document, places, by_words=by_words) for hit in nearest),
            tuple(self._hit(hit.document, places, by_words=by_words) for hit in best),
        )

    def close(self) -> None:
        """Let go of the folder's files."""
        self._index.close()

    def _hit(self, document: StoredDocument, places: dict[str, tuple[int, float | None]], *, by_words: bool) -> Hit:
        rank, cosine = places.get(document.id, (None, None))
        words = document.generated.get("keywords", "") if by_words else ""
        return Hit(self._passages[document.id], words, rank, cosine)


def _opened(folder: Path) -> HybridIndex:
    try:
        try:
            return HybridIndex.open(folder)
        except StoreNotFoundError:
            return HybridIndex.create(folder, views=_VIEWS)
    except MissingExtraError as error:
        feature = "limiar demo"
        raise MissingExtraError(feature, "demo") from error


def _check_ours(folder: Path, index: HybridIndex) -> None:
    """Only what a demo wrote may be replaced or removed."""
    documents = (document for id_ in index.ids() for document in index.get([id_]))
    if any(document.metadata.get("corpus") != _OWNER["corpus"] for document in documents):
        msg = f"--db {folder} is an index of other documents; choose a new or an empty folder"
        raise ConfigurationError(msg)
    if any(views != _VIEWS for views in index.schema.views.values()):
        msg = f"--db {folder} is an index that no demo made; choose a new or an empty folder"
        raise ConfigurationError(msg)
