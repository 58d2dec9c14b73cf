"""The bundled scorer: calibrated late interaction over a small Portuguese and English encoder.

Three features, all in about [-1, 1], are weighted and added to a logit:

- maxsim: for each piece of the query, its best cosine with a piece of the passage (MaxSim of ColBERT, Khattab and
  Zaharia 2020), averaged with the pieces' surprisal (minus their Unigram log probability) as weights, so that rare
  words count and function words hardly do;
- cosine: of the two mean-pooled vectors;
- phrase: how closely the passage keeps the query's neighbouring words together.

Token and pooled vectors are centred first: e5's vectors share a large common direction that hides differences.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from limiar.embeddings.bundled import BundledEncoder, TokenizedText, TokenWindow, mean_pooled, shared_encoder
from limiar.embeddings.model_files import CALIBRATION, ENCODER_BIN, read_manifest
from limiar.errors import ConfigurationError, InputError
from limiar.inputs import encodable
from limiar.scoring.calibration import Calibration, load_calibration
from limiar.scoring.cosines import CosineEngine
from limiar.scoring.lexical import WordKeys, distinct, phrase_closeness, word_keys
from limiar.scoring.passage_store import PassageCache, PassageWindow, StoredPassage, content_key, quantised
from limiar.scoring.protocol import Scale, Scores

FloatArray = npt.NDArray[np.float32]

DEFAULT_CACHE_MB = 512
_TEXTS_PER_ROUND = 1024


@dataclass(frozen=True)
class _EncodedQuery:
    tokens: FloatArray
    weights: FloatArray
    pooled: FloatArray
    words: WordKeys


@dataclass(frozen=True)
class _Ready:
    calibration: Calibration
    centre: FloatArray
    surprisal: FloatArray
    cosines: CosineEngine


class LateInteractionScorer:
    """Scores passages with the bundled encoder: no download, no key, no torch; Portuguese and English.

    The model is loaded at the first use or by `warm_up()`. Passages are kept by content, so that one seen before costs
    little (`benchmarks/rerank.py`). Passages longer than the encoder's 512 pieces are scored in overlapping windows and
    the best window counts (MaxP); of very long ones the first 32 windows (about 12,000 pieces) are read, and the
    result's `truncated` names them. Thread-safe.

    Args:
        encoder: None for the package's own, shared by all scorers of the process.
        calibration: a file made by `limiar model calibrate`; None for the one beside the encoder.
        cache_mb: what passages may take in memory, in units of 1,000,000 bytes; 0 keeps none. About 30,000 bytes hold
            a passage of 75 pieces, so the default of 512 holds about 17,000 of them.

    Raises:
        ConfigurationError: `cache_mb` is negative or not a number.

    Example:
        >>> scorer = LateInteractionScorer()
        >>> relevant, other = scorer.score("O que é quórum?", ["Quórum é o mínimo de votos.", "Bolo de cenoura."])
        >>> relevant > other
        True
    """

    scale: Scale = "logit"

    def __init__(
        self,
        encoder: BundledEncoder | None = None,
        *,
        calibration: str | Path | None = None,
        cache_mb: float = DEFAULT_CACHE_MB,
    ) -> None:
        if isinstance(cache_mb, bool) or not isinstance(cache_mb, int | float) or not cache_mb >= 0:
            msg = f"cache_mb={cache_mb!r}; expected a number of at least 0 (the default is {DEFAULT_CACHE_MB})"
            raise ConfigurationError(msg)
        self.encoder = encoder if encoder is not None else shared_encoder()
        self.cache = PassageCache(int(cache_mb * 1_000_000))
        self._calibration_path = Path(calibration) if calibration else self.encoder.folder / CALIBRATION
        self._lock = threading.Lock()
        self._ready: _Ready | None = None

    @property
    def model_id(self) -> str:
        return f"{self.encoder.model_id}-late-interaction"

    def warm_up(self) -> None:
        """Load the model and its calibration now.

        Raises:
            ModelNotFoundError: a file is missing.
            ModelDamagedError: a file cannot be read, or the calibration belongs to another encoder.
        """
        self._prepare()

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """One logit for each text.

        Args:
            query: text of at most 32 windows of the encoder (about 16,000 pieces).
            texts: passages, in any order and number; the work goes in rounds, so memory stays bounded.

        Raises:
            InputError: the query is longer than that.
        """
        ready = self._prepare()
        encoded = self._encode_query(query, ready)
        distinct_texts = list(dict.fromkeys(texts))
        scored: dict[str, tuple[float, bool]] = {}
        for start in range(0, len(distinct_texts), _TEXTS_PER_ROUND):
            group = distinct_texts[start : start + _TEXTS_PER_ROUND]
            passages = self._passages(group, ready)
            values = self.logits_of(self._features(encoded, passages, ready))
            for text, passage, best in zip(group, passages, _best_windows(values, passages), strict=True):
                scored[text] = float(values[best]), passage.truncated
        truncated = [place for place, text in enumerate(texts) if scored[text][1]]
        return Scores([scored[text][0] for text in texts], truncated)

    def preload(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> None:
        """Encode passages into the cache ahead of the first query.

        Args:
            texts: passages.
            progress: called with (done, total).
        """
        ready = self._prepare()
        for start in range(0, len(texts), _TEXTS_PER_ROUND):
            self._passages(texts[start : start + _TEXTS_PER_ROUND], ready)
            if progress is not None:
                progress(min(start + _TEXTS_PER_ROUND, len(texts)), len(texts))

    def features(self, query: str, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """What the calibration weighs, for the best window of each text: float64 (len(texts), 3), as `FEATURES`."""
        ready = self._prepare()
        passages = self._passages(texts, ready)
        features = self._features(self._encode_query(query, ready), passages, ready)
        chosen: npt.NDArray[np.float64] = features[_best_windows(self.logits_of(features), passages)]
        return chosen

    def logits_of(self, features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The calibrated logits of rows of `features`: float64 (rows,)."""
        calibration = self._prepare().calibration
        logits: npt.NDArray[np.float64] = features @ np.array(calibration.weights) + calibration.intercept
        return logits

    def _prepare(self) -> _Ready:
        if self._ready is None:
            with self._lock:
                if self._ready is None:
                    self._ready = self._load()
        return self._ready

    def _load(self) -> _Ready:
        self.encoder.warm_up()
        digests = read_manifest(self.encoder.folder)["sha256"]
        calibration = load_calibration(self._calibration_path, str(dict(digests)[ENCODER_BIN]))  # type: ignore[call-overload]
        return _Ready(
            calibration,
            np.array(calibration.centre, np.float32),
            -self.encoder.piece_scores(),
            CosineEngine(self.encoder.dimensions),
        )

    def _encode_query(self, query: str, ready: _Ready) -> _EncodedQuery:
        query = encodable(query)
        tokenized = self.encoder.tokenize(query, overlap=0)
        if tokenized.truncated:
            msg = f"the query has {len(query)} characters, more than the encoder's 32 windows hold; shorten it"
            raise InputError(msg)
        hidden = self.encoder.token_vectors(tokenized.windows, "query")
        rows = self.encoder.content_rows("query")
        tokens = _centred(np.concatenate([window[rows] for window in hidden]), ready.centre)
        weights = ready.surprisal[[piece for window in tokenized.windows for piece in window.ids]]
        pooled = _centred(mean_pooled(hidden)[None], ready.centre)[0]
        total = max(float(weights.sum()), 1e-12)
        return _EncodedQuery(tokens, weights / np.float32(total), pooled, distinct(word_keys(query)))

    def _passages(self, texts: Sequence[str], ready: _Ready) -> list[StoredPassage]:
        keys = [content_key(text) for text in texts]
        known = self.cache.get_many(keys)
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        for key, passage in zip(new, self._encode_passages(list(new.values()), ready), strict=True):
            known[key] = passage
            self.cache.put(key, passage)
        return [known[key] for key in keys]

    def _encode_passages(self, texts: list[str], ready: _Ready) -> list[StoredPassage]:
        if not texts:
            return []
        texts = [encodable(text) for text in texts]
        tokenized = self.encoder.tokenize_batch(texts)
        hidden = iter(self.encoder.token_vectors([window for text in tokenized for window in text.windows], "passage"))
        stored = []
        for text, whole in zip(texts, tokenized, strict=True):
            windows = [self._store(window, next(hidden), words, ready) for window, words in _with_words(text, whole)]
            stored.append(StoredPassage(tuple(windows), whole.truncated))
        return stored

    def _store(self, window: TokenWindow, hidden: FloatArray, words: WordKeys, ready: _Ready) -> PassageWindow:
        content = hidden[self.encoder.content_rows("passage")]
        vectors = _centred(content, ready.centre) if window.ids else np.zeros((1, hidden.shape[1]), np.float32)
        tokens, scales = quantised(vectors)
        pooled = _centred(mean_pooled([hidden])[None], ready.centre)[0]
        return PassageWindow(tokens, scales, pooled, words)

    def _features(
        self, query: _EncodedQuery, passages: Sequence[StoredPassage], ready: _Ready
    ) -> npt.NDArray[np.float64]:
        """One row for each window of each passage."""
        windows = [window for passage in passages for window in passage.windows]
        maxsim = _maxsim(query, windows, ready.cosines)
        cosine = np.einsum("ij,j->i", np.stack([window.pooled for window in windows]), query.pooled)
        phrase = phrase_closeness(query.words, [window.words for window in windows])
        return np.column_stack([maxsim, cosine, phrase]).astype(np.float64)


def _with_words(text: str, tokenized: TokenizedText) -> list[tuple[TokenWindow, WordKeys]]:
    if len(tokenized.windows) == 1:
        return [(tokenized.windows[0], word_keys(text))]
    return [(window, word_keys(text[window.start : window.end])) for window in tokenized.windows]


def _centred(vectors: FloatArray, centre: FloatArray) -> FloatArray:
    """Rows scaled to length 1, less the common direction, scaled to length 1 again."""
    moved = _unit(vectors) - centre
    return _unit(moved)


def _unit(vectors: FloatArray) -> FloatArray:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    scaled: FloatArray = vectors / np.maximum(lengths, 1e-12)[:, None]
    return scaled


def _maxsim(query: _EncodedQuery, windows: Sequence[PassageWindow], engine: CosineEngine) -> FloatArray:
    """The surprisal-weighted mean over query pieces of the best cosine with a piece of each window: (windows,)."""
    if not len(query.tokens):
        return np.zeros(len(windows), np.float32)
    cosines = engine.products(query.tokens, [window.tokens for window in windows])
    cosines *= np.concatenate([window.scales for window in windows])
    starts = np.cumsum([0] + [len(window.tokens) for window in windows[:-1]])
    best = np.maximum.reduceat(cosines, starts, axis=1)
    weighted: FloatArray = np.einsum("i,ij->j", query.weights, best)
    return weighted


def _best_windows(values: npt.NDArray[np.float64], passages: Sequence[StoredPassage]) -> list[int]:
    best, start = [], 0
    for passage in passages:
        end = start + len(passage.windows)
        best.append(start + int(np.argmax(values[start:end])))
        start = end
    return best
