"""From the expansions of a store to the documents of an index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from limiar.keywords.entries import Recipe
from limiar.keywords.store import ExpansionStore

if TYPE_CHECKING:
    from limiar.retrieval.document_store import StoredDocument
    from limiar.retrieval.hybrid_index import HybridIndex
    from limiar.retrieval.index_results import AddReport

_BATCH = 500


class IndexTexts:
    """The documents of an index as an expander takes them: id and text, read as they are asked for and as often.

    A document's text is all its original fields, one a line in the order of the index: what the dense arm embeds.

    Args:
        index: open, also read-only.
    """

    def __init__(self, index: HybridIndex) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for documents in _batches(self._index):
            yield from ((document.id, self._index.schema.original(document)) for document in documents)

    def text(self, document_id: str) -> str | None:
        """The text of one document; None if the index does not have it.

        Raises:
            InputError: the id cannot be one.
        """
        found = self._index.get([document_id])
        return self._index.schema.original(found[0]) if found else None


def has_expansions(index: HybridIndex, store: ExpansionStore, recipe: Recipe) -> bool:
    """Whether the store holds a usable expansion for at least one document of an index.

    Raises:
        ExpansionStoreError: the store cannot be read.
    """
    original = index.schema.original
    return any(any(store.usable(recipe, [original(it) for it in documents])) for documents in _batches(index))


def apply_expansions(
    index: HybridIndex,
    store: ExpansionStore,
    recipe: Recipe,
    *,
    clear: bool = True,
    progress: Callable[[int, int | None], None] | None = None,
) -> AddReport:
    """Make the generated texts of an index those that the store holds for a recipe.

    A document for whose present text the recipe has no usable expansion ("done" or "edited", not empty) has none
    afterwards, unless `clear` is false: one index, one recipe. What is the same already is not written.

    Args:
        index: open for writing, with a view of generated texts.
        store: holds the expansions.
        recipe: whose entries to take: `expander.recipe`, or one of `store.recipes()`.
        clear: whether documents without a usable expansion lose the generated texts that they had.
        progress: called with (done, total) documents.

    Returns:
        `replaced`, `unchanged` and `embedded` as of `HybridIndex.set_generated`.

    Raises:
        ConfigurationError: the index has no view of generated texts.
        ExpansionStoreError: the store cannot be read.
        StoreWriteError, StoreUnreachableError, EncoderError: as for `HybridIndex.add`. The batches of 500 before are
            written; the same call again goes on.
    """
    from limiar.retrieval.index_results import AddReport

    schema, total, done = index.schema, len(index), 0
    schema.check_generated({})
    report = AddReport()
    if progress is not None:
        progress(0, total)
    for documents in _batches(index):
        expansions = store.usable(recipe, [schema.original(document) for document in documents])
        texts = {document.id: it.fields() for document, it in zip(documents, expansions, strict=True) if it or clear}
        report += index.set_generated(texts, progress=_after(progress, done, total))
        report += AddReport(unchanged=len(documents) - len(texts))
        done += len(documents)
        if progress is not None:
            progress(done, total)
    return report


def _batches(index: HybridIndex) -> Iterator[list[StoredDocument]]:
    ids = index.ids()
    for start in range(0, len(ids), _BATCH):
        yield index.get(ids[start : start + _BATCH])


def _after(
    progress: Callable[[int, int | None], None] | None, before: int, total: int
) -> Callable[[int, int | None], None] | None:
    """`progress` of the whole, for a batch that begins after so many documents."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)
