"""The vectors of texts, each made once: what the index has already is not made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from limiar.embeddings.protocol import Encoder, FloatArray
from limiar.errors import EncoderError
from limiar.retrieval.document_store import DocumentStore, text_digest

_BATCH = 256


class TextVectors:
    """Vectors from the store, or else from the encoder, which the store then keeps.

    Args:
        store: keeps them by the digest of the text.
        encoder: makes those that are new.
    """

    def __init__(self, store: DocumentStore, encoder: Encoder) -> None:
        self._store = store
        self._encoder = encoder

    def of(self, texts: Sequence[str], *, made: Callable[[int], None] | None = None) -> FloatArray:
        """One vector for each text, in order: float32 (len(texts), dimensions).

        Args:
            texts: equal ones are embedded once.
            made: called with the number of vectors that were made, after each batch. Those made are kept, whatever
                happens later.

        Raises:
            EncoderError: the encoder failed, or returned something that is not a finite vector for each text.
            StoreWriteError: the vectors cannot be kept.
        """
        by_digest = {text_digest(text): text for text in texts}
        known = self._store.vectors(by_digest)
        new = [digest for digest in by_digest if digest not in known]
        for start in range(0, len(new), _BATCH):
            digests = new[start : start + _BATCH]
            fresh = dict(zip(digests, self._embedded([by_digest[digest] for digest in digests]), strict=True))
            self._store.keep_vectors(fresh)
            known.update(fresh)
            if made is not None:
                made(len(digests))
        if not texts:
            return np.empty((0, self._encoder.dimensions), np.float32)
        return np.stack([known[text_digest(text)] for text in texts])

    def of_query(self, query: str) -> FloatArray:
        """The vector of a query: float32 (dimensions,)."""
        return self._encoder.embed_query(query)

    def _embedded(self, texts: list[str]) -> FloatArray:
        vectors = np.asarray(self._encoder.embed_documents(texts), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            msg = (
                f"the encoder {self._encoder.model_id!r} returned an array of shape {vectors.shape} for {len(texts)} "
                "texts, or one that is not finite; expected one finite vector for each text"
            )
            raise EncoderError(msg)
        return vectors
