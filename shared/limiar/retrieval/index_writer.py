"""The one write path of a `HybridIndex`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from limiar.errors import InputError
from limiar.retrieval.document_store import DocumentStore, Record, StoredDocument
from limiar.retrieval.index_arms import IndexArm
from limiar.retrieval.index_results import AddReport
from limiar.retrieval.index_schema import IndexSchema
from limiar.retrieval.index_vectors import TextVectors

BATCH = 500

IndexProgress = Callable[[int, int | None], None]
"""Called with the number of documents done and, where it is known, of all."""


class IndexWriter:
    """Writes documents to the store and to the arms, batch by batch. One thread at a time.

    The arms' entries of keys that the store does not know are passed over by searches: a kill between any two steps
    leaves the old version of a document or the new one, and at worst entries to be cleared away.

    Args:
        store: the documents.
        schema: what the arms see of them.
        arms: all arms.
        vectors: makes or finds the vectors of texts.
    """

    def __init__(
        self, store: DocumentStore, schema: IndexSchema, arms: Sequence[IndexArm], vectors: TextVectors
    ) -> None:
        self._store = store
        self._schema = schema
        self._arms = tuple(arms)
        self._vectors = vectors

    def add(self, records: Iterable[Record], total: int | None, progress: IndexProgress) -> AddReport:
        """Add or replace documents; see `HybridIndex.add`."""
        report, done, waiting = AddReport(), 0, iter(records)
        progress(0, total)
        while batch := list(islice(waiting, BATCH)):
            report += self._add_batch(batch, _counted(progress, done, len(batch), total))
            done += len(batch)
            progress(done, total)
        return report

    def set_generated(self, texts: Mapping[str, Mapping[str, str]], progress: IndexProgress) -> AddReport:
        """Give documents their generated texts; see `HybridIndex.set_generated`."""
        report, done, ids = AddReport(), 0, iter(texts)
        progress(0, len(texts))
        while some := list(islice(ids, BATCH)):
            documents = self._store.get(some)
            if unknown := [identity for identity in some if identity not in documents]:
                msg = f"{len(unknown)} of the ids are of no document in the index, the first: {unknown[0][:80]!r}"
                raise InputError(msg)
            changed = [
                self._schema.record(StoredDocument(it.id, it.fields, it.metadata, texts[it.id]))
                for it in documents.values()
                if dict(it.generated) != dict(texts[it.id])
            ]
            embedded = self._write(changed, _counted(progress, done, len(some), len(texts)))
            report += AddReport(replaced=len(changed), unchanged=len(some) - len(changed), embedded=embedded)
            done += len(some)
            progress(done, len(texts))
        return report

    def delete(self, ids: Sequence[str]) -> int:
        """Delete documents; returns how many."""
        gone = self._store.delete(ids)
        self._clear(gone)
        return len(gone)

    def clear_trash(self) -> None:
        """Take out of the arms what a write that was cut short left there."""
        self._clear(self._store.trash())

    def _add_batch(self, batch: Sequence[Record], made: Callable[[int], None]) -> AddReport:
        latest: dict[str, Record] = {}
        for record in batch:
            earlier = latest.get(record.document.id)
            latest[record.document.id] = self._with_generated(record, earlier.document if earlier else None)
        there = self._store.versions(list(latest))
        same = {id_ for id_, it in latest.items() if id_ in there and there[id_][1] == it.digest}
        old = self._store.get([id_ for id_ in there if id_ not in same or latest[id_].document.generated])
        changed = [it for id_, it in latest.items() if id_ not in same or _brings_generated(it, old.get(id_))]
        replaced = [it.document.id for it in changed if it.document.id in there]
        embedded = self._write([self._with_generated(it, old.get(it.document.id)) for it in changed], made)
        return AddReport(
            added=len(changed) - len(replaced),
            replaced=len(replaced),
            unchanged=len(latest) - len(changed),
            repeated=len(batch) - len(latest),
            embedded=embedded,
        )

    def _with_generated(self, record: Record, before: StoredDocument | None) -> Record:
        """The record with what was made from the document before, if its texts are what they were."""
        document = record.document
        if before is None or document.generated or not before.generated or before.fields != document.fields:
            return record
        return self._schema.record(StoredDocument(document.id, document.fields, document.metadata, before.generated))

    def _write(self, records: Sequence[Record], made: Callable[[int], None]) -> int:
        """Put new versions into the arms, make them the documents, take the old versions out."""
        if not records:
            return 0
        count = 0

        def counted(vectors: int) -> None:
            nonlocal count
            count += vectors
            made(vectors)

        self._vectors.of([text for record in records for text in record.texts.values()], made=counted)
        by_key = dict(zip(self._store.reserve(len(records)), records, strict=True))
        for arm in self._arms:
            arm.put(by_key)
        self._clear(self._store.switch(by_key))
        return count

    def _clear(self, keys: Sequence[int]) -> None:
        """Take keys that no document has out of the arms."""
        if keys:
            for arm in self._arms:
                arm.remove(keys)
            self._store.empty_trash(keys)


def _brings_generated(record: Record, before: StoredDocument | None) -> bool:
    generated = record.document.generated
    return before is not None and bool(generated) and dict(generated) != dict(before.generated)


def _counted(progress: IndexProgress, done: int, size: int, total: int | None) -> Callable[[int], None]:
    """Reports vectors as documents, so that a long batch is seen to move; all of it only once it is on disk."""
    made = 0

    def count(vectors: int) -> None:
        nonlocal made
        made = min(made + vectors, size - 1)
        progress(done + made, total)

    return count
