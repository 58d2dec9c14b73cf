"""Embeds with OpenAI's API, or any server that speaks it; pays for no text twice."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limiar.embeddings.answers import read_vectors
from limiar.embeddings.cost import Estimate, price
from limiar.embeddings.openai_requests import Requests, Stopped
from limiar.embeddings.packing import MAX_INPUT_TOKENS, MAX_INPUTS, MAX_REQUEST_TOKENS, pack, token_counter
from limiar.embeddings.protocol import FloatArray, Progress
from limiar.embeddings.vector_cache import VectorCache
from limiar.errors import ConfigurationError, EncoderError
from limiar.inputs import check_texts, encodable
from limiar.selection import check_count
from limiar.servers import OPENAI, Secret, openai_key, without_credentials

logger = logging.getLogger("limiar")

DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
_FIXED = frozenset({"text-embedding-ada-002"})
_BLANK = " "  # the API refuses an empty text


class OpenAIEncoder:
    r"""Sentence vectors from OpenAI or a server with the same API; needs `limiar[openai]`.

    Each different text is sent once, in requests as large as the limits allow. Texts longer than `max_input_tokens`
    are cut into parts whose vectors are averaged by their length, and the log names their positions. All vectors have
    length 1. Thread-safe; `max_concurrency` holds for all threads together.

    A request that met a limit, a failing server or a broken connection is sent again: after the time that the server
    asks for, or else after a doubling one. With a `cache`, what a request brought is on disk before the next one
    starts in its place, so a run that is killed and started again pays for no more than what was under way.

    Args:
        model: "text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002", or a name that the server
            knows.
        dimensions: shorter vectors, of the models that can; None for the model's own.
        api_key: None for OPENAI_API_KEY.
        base_url: a server such as http://localhost:8000/v1; None for OPENAI_BASE_URL or OpenAI's own.
        cache: a file of vectors, made if need be; several models, servers and processes can share it. It holds
            hashes and vectors, no text and no key.
        max_concurrency: requests at a time.
        max_retries: how often one request is sent again.
        timeout: seconds for one attempt.
        max_inputs: texts in a request.
        max_request_tokens: tokens in a request.
        max_input_tokens: tokens in a text. For a server whose model reads fewer than OpenAI's do.

    Raises:
        ConfigurationError: a value is out of its range, or does not fit the model.

    Example:
        ```python
        from limiar import OpenAIEncoder

        encoder = OpenAIEncoder("text-embedding-3-large", dimensions=1024, cache="vectors.sqlite")
        print(encoder.estimate(texts))
        vectors = encoder.embed_documents(texts, progress=lambda done, total: print(f"{done}/{total}", end="\r"))
        ```
    """

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        *,
        dimensions: int | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        cache: str | Path | None = None,
        max_concurrency: int = 4,
        max_retries: int = 8,
        timeout: float = 60.0,
        max_inputs: int = MAX_INPUTS,
        max_request_tokens: int = MAX_REQUEST_TOKENS,
        max_input_tokens: int = MAX_INPUT_TOKENS,
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            msg = f"model={model!r}; expected a name such as {', '.join(DIMENSIONS)}"
            raise ConfigurationError(msg)
        _check_dimensions(model, dimensions)
        for name, value, least in (
            ("max_concurrency", max_concurrency, 1),
            ("max_retries", max_retries, 0),
            ("max_inputs", max_inputs, 1),
            ("max_input_tokens", max_input_tokens, 32),
            ("max_request_tokens", max_request_tokens, max_input_tokens),
        ):
            check_count(name, value, least)
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
            msg = f"timeout={timeout!r}; expected a number of seconds above 0"
            raise ConfigurationError(msg)
        self.model = model
        self.asked_dimensions = dimensions
        self.max_concurrency = max_concurrency
        self.max_retries = max_retries
        self.timeout = timeout
        self.max_inputs = max_inputs
        self.max_request_tokens = max_request_tokens
        self.max_input_tokens = max_input_tokens
        self._base_url = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
        self.server = without_credentials(self._base_url)
        self._key = Secret(api_key) if api_key else None
        self._dimensions = dimensions or DIMENSIONS.get(model)
        self._cache = None if cache is None else VectorCache(cache, model, dimensions, self.server)
        self._lock = threading.Lock()
        self._requests: Requests | None = None

    def __repr__(self) -> str:
        return f"OpenAIEncoder({self.model!r}, dimensions={self.asked_dimensions}, server={self.server!r})"

    @property
    def model_id(self) -> str:
        """The model, and the dimensions if some were asked for."""
        return self.model if self.asked_dimensions is None else f"{self.model}/{self.asked_dimensions}"

    @property
    def dimensions(self) -> int:
        """The length of each vector; of a model that limiar does not know, the server is asked once."""
        if self._dimensions is None:
            self.embed_query(_BLANK)
        return self._dimensions or 0

    def warm_up(self) -> None:
        """Check the key and open the cache now. Sends nothing.

        Raises:
            MissingExtraError: the openai package is not installed.
            ConfigurationError: OpenAI's own server and no key.
            VectorCacheError: the cache cannot be opened.
        """
        self._sender()
        if self._cache is not None:
            self._cache.get([])

    def close(self) -> None:
        """Close the connections and the cache. The next use opens them again."""
        with self._lock:
            if self._requests is not None:
                self._requests.close()
            self._requests = None
        if self._cache is not None:
            self._cache.close()

    def embed_query(self, text: str) -> FloatArray:
        """The vector of a query: float32 (dimensions,), of length 1."""
        vector: FloatArray = self.embed_documents([text])[0]
        return vector

    def embed_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> FloatArray:
        """The vectors of documents: float32 (len(texts), dimensions), each of length 1.

        Args:
            texts: documents; a blank one gets the vector of a space.
            progress: called with (done, total) at the start and after each request.

        Raises:
            InputTypeError: a text is not a string.
            EncoderError: the server cannot be reached, refuses, or gives unusable vectors. What was paid for until then
                is in the cache.
            VectorCacheError: the cache cannot be read or written.
        """
        job = self._job(texts)
        if job.split:
            logger.info("%s: %d texts are averaged from parts: %s", self.model_id, len(job.split), list(job.split))
        vectors = job.known
        count = _Progress(job, progress)
        count.show()
        with closing(self._answers(job)) as answers:
            for batch, answer in answers:
                vectors.update(zip(batch, answer, strict=True))
                count.add(batch)
        if not job.texts:
            return np.empty((0, self._dimensions or 0), np.float32)
        averaged = {text: _average(parts, vectors) for text, parts in job.parts.items()}
        self._check_lengths(averaged)
        return np.stack([averaged[text] for text in job.texts])

    def estimate(self, texts: Sequence[str]) -> Estimate:
        """What `embed_documents(texts)` would send, cost and take. Sends nothing."""
        job = self._job(texts)
        tokens = sum(job.tokens)
        pace = None if self._requests is None else self._requests.pace
        missing = set(job.missing)
        sending = {text for text, parts in job.parts.items() if not missing.isdisjoint(parts)}
        return Estimate(
            texts=len(job.texts),
            cached=len(job.texts) - len(sending),
            split=job.split,
            tokens=tokens,
            exact=token_counter(self.model).exact,
            requests=len(job.batches),
            usd=price(self.model, tokens) if self.server == OPENAI else None,
            seconds=None if pace is None else pace.seconds(len(job.batches), tokens, self.max_concurrency),
        )

    def _job(self, texts: Sequence[str]) -> _Job:
        """What to send for the texts, after a look into the cache."""
        checked = [encodable(text) if text.strip() else _BLANK for text in check_texts(texts)]
        parts = {text: self._parts(text) for text in dict.fromkeys(checked)}
        wanted = list(dict.fromkeys(part for some in parts.values() for part in some))
        known = self._known(wanted)
        missing = [part for part in wanted if part not in known]
        counter = token_counter(self.model)
        tokens = [counter.count(part) for part in missing]
        batches = pack(tokens, self.max_inputs, self.max_request_tokens)
        split = tuple(position for position, text in enumerate(checked) if len(parts[text]) > 1)
        return _Job(checked, parts, known, missing, tokens, batches, split)

    def _parts(self, text: str) -> list[str]:
        if len(text) * 4 <= self.max_input_tokens or len(text.encode("utf-8")) <= self.max_input_tokens:
            return [text]
        return token_counter(self.model).cut(text, self.max_input_tokens)

    def _known(self, parts: Sequence[str]) -> dict[str, FloatArray]:
        if self._cache is None:
            return {}
        found = self._cache.get(parts)
        if self._dimensions is None and found:
            self._dimensions = len(next(iter(found.values())))
        return {
            part: vector
            for part, vector in found.items()
            if len(vector) == self._dimensions and np.isfinite(vector).all()
        }

    def _answers(self, job: _Job) -> Generator[tuple[list[str], FloatArray], None, None]:
        """Each batch of texts with its vectors, as they come in, already in the cache."""
        if not job.batches:
            return
        sender, stop = self._sender(), threading.Event()
        if len(job.batches) == 1:
            yield self._answer(sender, job, job.batches[0], stop)
            return
        pool = ThreadPoolExecutor(min(self.max_concurrency, len(job.batches)), thread_name_prefix="limiar-openai")
        try:
            futures = [pool.submit(self._answer, sender, job, batch, stop) for batch in job.batches]
            for future in as_completed(futures):
                if (answer := _unless_stopped(future)) is not None:
                    yield answer
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _answer(
        self, sender: Requests, job: _Job, batch: Sequence[int], stop: threading.Event
    ) -> tuple[list[str], FloatArray]:
        texts = [job.missing[place] for place in batch]
        try:
            answer = sender.send(texts, sum(job.tokens[place] for place in batch), stop)
            vectors = read_vectors(answer, len(texts), self._dimensions, f"{self.model} at {self.server}")
            if self._cache is not None:
                self._cache.put(dict(zip(texts, vectors, strict=True)))
        except BaseException:
            stop.set()
            raise
        if self._dimensions is None:
            self._dimensions = vectors.shape[1]
        return texts, vectors

    def _check_lengths(self, vectors: dict[str, FloatArray]) -> None:
        lengths = {len(vector) for vector in vectors.values()}
        if len(lengths) > 1:
            msg = f"{self.model} at {self.server} gave vectors of different lengths: {sorted(lengths)}"
            raise EncoderError(msg)

    def _sender(self) -> Requests:
        with self._lock:
            if self._requests is None:
                fixed: dict[str, object] = {"model": self.model}
                if self.asked_dimensions is not None:
                    fixed["dimensions"] = self.asked_dimensions
                self._requests = Requests(
                    self.server,
                    self._base_url,
                    openai_key(self._key, self.server),
                    fixed,
                    self.max_concurrency,
                    self.max_retries,
                    self.timeout,
                )
            return self._requests


@dataclass(frozen=True)
class _Job:
    """A run: the parts that each different text is made of, those known, and those to send in batches."""

    texts: list[str]
    parts: dict[str, list[str]]
    known: dict[str, FloatArray]
    missing: list[str]
    tokens: list[int]
    batches: list[list[int]]
    split: tuple[int, ...]


class _Progress:
    """Counts the texts of which every part is known."""

    def __init__(self, job: _Job, progress: Progress | None) -> None:
        missing = set(job.missing)
        self._progress = progress
        self._total = len(job.texts)
        self._copies: dict[str, int] = {}
        for text in job.texts:
            self._copies[text] = self._copies.get(text, 0) + 1
        self._waiting = {text: missing.intersection(parts) for text, parts in job.parts.items()}
        self._users: dict[str, list[str]] = {}
        for text, parts in self._waiting.items():
            for part in parts:
                self._users.setdefault(part, []).append(text)
        self._done = sum(self._copies[text] for text, parts in self._waiting.items() if not parts)

    def add(self, batch: Sequence[str]) -> None:
        for part in batch:
            for text in self._users[part]:
                self._waiting[text].discard(part)
                if not self._waiting[text]:
                    self._done += self._copies[text]
        self.show()

    def show(self) -> None:
        if self._progress is not None and self._total:
            self._progress(self._done, self._total)


def _average(parts: Sequence[str], vectors: dict[str, FloatArray]) -> FloatArray:
    """The mean of the parts' vectors by their length, scaled to length 1."""
    weights = np.array([len(part) for part in parts], np.float64)
    total = np.zeros(len(vectors[parts[0]]))
    for part, weight in zip(parts, weights / weights.sum(), strict=True):
        total += weight * vectors[part]
    scaled: FloatArray = (total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32)
    return scaled


def _unless_stopped(future: Future[tuple[list[str], FloatArray]]) -> tuple[list[str], FloatArray] | None:
    """The result; None if it was stopped by another's failure, which is still to come."""
    try:
        return future.result()
    except Stopped:
        return None


def _check_dimensions(model: str, dimensions: int | None) -> None:
    if dimensions is None:
        return
    if model in _FIXED:
        msg = f"dimensions={dimensions!r}, but {model} has {DIMENSIONS[model]} and cannot shorten them"
        raise ConfigurationError(msg)
    check_count("dimensions", dimensions, 1, DIMENSIONS.get(model, math.inf))
