"""Whether the arms of a `HybridIndex` hold what its documents say, and how to make it so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from limiar.errors import StoreError
from limiar.retrieval.document_store import DocumentStore
from limiar.retrieval.index_arms import UNUSABLE, IndexArm
from limiar.retrieval.index_schema import IndexSchema

_BATCH = 500


@dataclass(frozen=True)
class ArmHealth:
    """One arm.

    Attributes:
        arm: its name.
        missing: how many documents it lacks.
        extra: how many entries it has that belong to no document. Searches pass them over.
        failure: why it cannot be read at all; empty if it can.
    """

    arm: str
    missing: int = 0
    extra: int = 0
    failure: str = ""


@dataclass(frozen=True)
class IndexHealth:
    """The state of an index.

    Attributes:
        documents: how many there are.
        arms: each arm.
        unfinished: how many entries a write that was cut short may have left behind. The next write removes them.
    """

    documents: int
    arms: tuple[ArmHealth, ...]
    unfinished: int

    @property
    def healthy(self) -> bool:
        """Whether there is nothing to repair."""
        return not self.unfinished and not any(arm.missing or arm.extra or arm.failure for arm in self.arms)

    def __str__(self) -> str:
        lines = [f"{self.documents} documents"]
        for arm in self.arms:
            state = arm.failure or f"{arm.missing} missing, {arm.extra} extra"
            lines.append(f"{arm.arm}: {'in order' if state == '0 missing, 0 extra' else state}")
        if self.unfinished:
            lines.append(f"{self.unfinished} entries of an unfinished write")
        return "\n".join(lines)


def examine(store: DocumentStore, arms: Sequence[IndexArm]) -> IndexHealth:
    """Check every file and compare the arms with the documents.

    Raises:
        StoreDamagedError: the documents themselves are damaged.
    """
    store.check()
    return IndexHealth(store.count(), tuple(_examined(store, arm) for arm in arms), len(store.trash()))


def mend(
    store: DocumentStore,
    schema: IndexSchema,
    arms: Sequence[IndexArm],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Make the arms hold exactly the documents; an arm that cannot be read is made afresh.

    Args:
        store: the documents.
        schema: what the arms see of them.
        arms: to mend.
        progress: called with (done, total) of the documents that arms lacked.

    Raises:
        StoreDamagedError: the documents themselves are damaged.
        StoreUnreachableError: a server does not answer.
        StoreWriteError: an arm cannot be written.
    """
    store.check()
    work: list[tuple[IndexArm, list[int]]] = []
    for arm in arms:
        missing, extra = _found_or_afresh(store, arm)
        arm.remove(extra)
        work.append((arm, missing))
    total, done = sum(len(missing) for _, missing in work), 0
    for arm, missing in work:
        for start in range(0, len(missing), _BATCH):
            documents = store.fetch(missing[start : start + _BATCH])
            arm.put({key: schema.record(document) for key, document in documents.items()})
            done += len(documents)
            if progress is not None:
                progress(done, total)
    store.empty_trash(store.trash())
    store.drop_unused_vectors()
    store.touch()


def _examined(store: DocumentStore, arm: IndexArm) -> ArmHealth:
    try:
        arm.check()
        missing, extra = arm.differences(store)
    except StoreError as error:
        return ArmHealth(arm.name, failure=" ".join(str(error).split()))
    return ArmHealth(arm.name, len(missing), len(extra))


def _found_or_afresh(store: DocumentStore, arm: IndexArm) -> tuple[list[int], list[int]]:
    try:
        arm.check()
        return arm.differences(store)
    except UNUSABLE:
        arm.start_afresh()
    return arm.differences(store)
