"""The vectors of texts, each made once: what the index has already is not made again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from limiar.embeddings.protocol import Encoder, FloatArray
from limiar.errors import EncoderError, LimiarError
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
        if not texts:
            return np.empty((0, 0), np.float32)
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
        """The vector of a query: float32 (dimensions,).

        Raises:
            EncoderError: the encoder failed, or returned something else.
        """
        with self._failing():
            vector = np.asarray(self._encoder.embed_query(query), np.float32)
        if vector.shape != (self._encoder.dimensions,) or not np.isfinite(vector).all():
            msg = (
                f"the encoder {self._encoder.model_id!r} returned an array of shape {vector.shape} for a query, or one "
                f"that is not finite; expected {self._encoder.dimensions} finite numbers"
            )
            raise EncoderError(msg)
        return vector

    def _embedded(self, texts: list[str]) -> FloatArray:
        with self._failing():
            vectors = np.asarray(self._encoder.embed_documents(texts), dtype=np.float32)
        expected = (len(texts), self._encoder.dimensions)
        if vectors.shape != expected or not np.isfinite(vectors).all():
            msg = (
                f"the encoder {self._encoder.model_id!r} returned an array of shape {vectors.shape} for {len(texts)} "
                f"texts, or one that is not finite; expected finite vectors, {expected}"
            )
            raise EncoderError(msg)
        return vectors

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except LimiarError:
            raise
        except Exception as error:
            msg = f"the encoder {self._encoder.model_id!r} failed ({type(error).__name__})"
            raise EncoderError(msg) from error
