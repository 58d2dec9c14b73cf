"""The demo's first stage: its passages in an embedded Chroma, with vectors from the bundled encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from limiar.embeddings.model_files import ENCODER_BIN, read_manifest
from limiar.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection as ChromaCollection

    from limiar.embeddings.bundled import BundledEncoder
    from limiar.evaluation.dataset import Passage

COLLECTION = "limiar-demo"
_BATCH = 16
_EXACT_SEARCH = 1000


@dataclass(frozen=True)
class Hit:
    """A passage that the first stage found, and its cosine with the question."""

    passage: Passage
    cosine: float


class DemoIndex:
    """The passages in a Chroma folder.

    Args:
        folder: made if missing; what it holds already is not embedded again.
        encoder: makes the vectors of passages and questions.

    Raises:
        MissingExtraError: chromadb is not installed.
        ConfigurationError: the folder cannot be opened as a Chroma store.
    """

    def __init__(self, folder: Path, encoder: BundledEncoder) -> None:
        self.encoder = encoder
        self._passages: dict[str, Passage] = {}
        self._client, self._collection = _open(folder)

    def fill(self, passages: Sequence[Passage], progress: Callable[[int, int], None]) -> int:
        """Make the store hold exactly `passages`; returns how many had to be embedded.

        Args:
            passages: with unique ids.
            progress: called with (done, total) of those to embed.
        """
        self._passages = {passage.id: passage for passage in passages}
        fingerprints = self._fingerprints(passages)
        stored = self._stored_fingerprints()
        if gone := [id_ for id_ in stored if id_ not in fingerprints]:
            self._collection.delete(ids=gone)
        new = [passage for passage in passages if stored.get(passage.id) != fingerprints[passage.id]]
        progress(0, len(new))
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            texts = [passage.full_text for passage in batch]
            self._collection.upsert(
                ids=[passage.id for passage in batch],
                embeddings=self.encoder.embed_documents(texts),
                documents=texts,
                metadatas=[{"title": passage.title, "fingerprint": fingerprints[passage.id]} for passage in batch],
            )
            progress(start + len(batch), len(new))
        return len(new)

    def search(self, question: str, count: int) -> list[Hit]:
        """The `count` passages nearest to the question, nearest first."""
        vector = self.encoder.embed_query(question)
        found = self._collection.query(
            query_embeddings=vector[None], n_results=min(count, len(self._passages)), include=["distances"]
        )
        ids, distances = found["ids"][0], (found["distances"] or [[]])[0]
        return [Hit(self._passages[id_], 1.0 - distance) for id_, distance in zip(ids, distances, strict=True)]

    def close(self) -> None:
        """Let go of the folder's files."""
        close = getattr(self._client, "close", None)  # chromadb 1.0 has none
        if close is not None:
            close()

    def _fingerprints(self, passages: Sequence[Passage]) -> dict[str, str]:
        """Of each passage, what its vector depends on: the encoder's weights and the text."""
        weights = dict(read_manifest(self.encoder.folder)["sha256"])[ENCODER_BIN]  # type: ignore[call-overload]
        return {
            passage.id: hashlib.sha256(f"{weights}\0{passage.full_text}".encode()).hexdigest() for passage in passages
        }

    def _stored_fingerprints(self) -> dict[str, str]:
        stored = self._collection.get(include=["metadatas"])
        metadatas = stored["metadatas"] or []
        return {
            id_: str((metadata or {}).get("fingerprint"))
            for id_, metadata in zip(stored["ids"], metadatas, strict=True)
        }


def _open(folder: Path) -> tuple[ClientAPI, ChromaCollection]:
    try:
        import chromadb
        from chromadb.config import Settings
    except ImportError as error:
        feature = "limiar demo"
        raise MissingExtraError(feature, "demo") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        client = chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
        collection = client.get_or_create_collection(
            COLLECTION,
            embedding_function=None,
            configuration={"hnsw": {"space": "cosine", "ef_search": _EXACT_SEARCH}},
        )
    except Exception as error:
        msg = f"--db {folder} cannot be opened as a Chroma store ({type(error).__name__}: {error})"
        raise ConfigurationError(msg) from error
    return client, collection
