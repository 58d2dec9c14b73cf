"""What a `HybridIndex` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from limiar.retrieval.document_store import StoredDocument
from limiar.retrieval.fusion import FusedHit


@dataclass(frozen=True)
class AddReport:
    """What `HybridIndex.add` did.

    Attributes:
        added: documents with a new id.
        replaced: documents that took the place of another version.
        unchanged: documents that were there, the same to the character: nothing was written.
        repeated: documents passed over because a later one in the same call has their id.
        embedded: texts that were new to the index, so that the encoder was asked.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    repeated: int = 0
    embedded: int = 0

    def __add__(self, other: AddReport) -> AddReport:
        return AddReport(
            self.added + other.added,
            self.replaced + other.replaced,
            self.unchanged + other.unchanged,
            self.repeated + other.repeated,
            self.embedded + other.embedded,
        )


@dataclass(frozen=True)
class HybridHit:
    """A document found.

    Attributes:
        document: as it was added.
        fused: its fused score, and by arm its rank and score.
    """

    document: StoredDocument
    fused: FusedHit


@dataclass(frozen=True)
class HybridResult:
    """What a search found.

    Attributes:
        hits: best first.
        skipped: by arm name, why it was left out.
    """

    hits: list[HybridHit]
    skipped: dict[str, str]


@dataclass(frozen=True)
class HybridStats:
    """The size of an index.

    Attributes:
        documents: how many there are.
        size_bytes: of all files in the folder.
        fields: the original fields and their BM25 weights.
        language: of the analyzer.
        encoder: the name of what made the vectors.
        views: by arm, what it can look into.
        place: where the vectors are.
    """

    documents: int
    size_bytes: int
    fields: Mapping[str, float]
    language: str
    encoder: str
    views: Mapping[str, tuple[str, ...]]
    place: str
