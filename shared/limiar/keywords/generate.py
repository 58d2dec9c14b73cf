"""Expands documents with a chat model, several at a time, each text once, whatever happens in between."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import replace
from itertools import islice

from limiar.embeddings.packing import token_counter
from limiar.errors import ChatError, ConfigurationError, InputTypeError, LimiarError
from limiar.inputs import encodable
from limiar.keywords.asking import Asked, Asker, Stopped
from limiar.keywords.chat import ChatModel
from limiar.keywords.claims import LEASE, Claims
from limiar.keywords.entries import Outcome, Recipe, text_key
from limiar.keywords.prompts import ExpansionPrompt
from limiar.keywords.report import ExpansionEstimate, ExpansionReport, Prices
from limiar.keywords.resolve import choose_chat
from limiar.keywords.store import ExpansionStore, check_store
from limiar.selection import check_count

logger = logging.getLogger("limiar")

Progress = Callable[[ExpansionReport], object]
Document = tuple[str, str]
"""The id and the text of a document."""

MOST_CONCURRENT = 256
_GRACE = 10.0  # seconds that calls under way have to end after an error
_SHOWN_EVERY = 0.25
_PAUSE = 0.2
_MOST_DEFERRED = 1_024
_MOST_COMPARED = 1_000_000


class Expander:
    r"""Asks a chat model about documents, keeps what it says in a store, and asks about no text twice.

    A kill of the process can lose the calls under way and the answers that wait for their commit, no others. A document
    is claimed in the store before it is asked about: several processes can work on the same documents and share them
    out. Thread-safe.

    A call that met a limit, a failing server or a broken connection is made again: after the time that the server asks
    for, in which all threads keep quiet, or else after a doubling one. An answer that cannot be used is asked for once
    more with the reason, then recorded as failed with its raw text.

    Args:
        chat: a `ChatModel`, the name of an OpenAI model, or a function from messages to text.
        store: where the expansions are kept.
        prompt: what to ask.
        concurrency: calls at a time, at most 256.
        max_retries: how often one call is made again after a failure that may pass; ten times as often where the
            server says how long to wait.
        retry_failed: whether to ask again what is recorded as failed.
        prices: of the model, for estimates and reports.

    Raises:
        ConfigurationError: a value is out of its range, or `chat` or `store` is none.

    Example:
        ```python
        from limiar.keywords.generate import Expander
        from limiar.keywords.openai_chat import OpenAIChat
        from limiar.keywords.store import ExpansionStore

        expander = Expander(OpenAIChat("gpt-4o-mini"), ExpansionStore("keywords.sqlite"), concurrency=16)
        print(expander.estimate(documents))
        report = expander.run(documents, progress=lambda so_far: print(so_far, end="\r"))
        ```
    """

    def __init__(
        self,
        chat: object,
        store: ExpansionStore,
        prompt: ExpansionPrompt | None = None,
        *,
        concurrency: int = 8,
        max_retries: int = 6,
        retry_failed: bool = False,
        prices: Prices | None = None,
    ) -> None:
        check_count("concurrency", concurrency, 1, MOST_CONCURRENT)
        check_count("max_retries", max_retries, 0)
        self.chat: ChatModel = choose_chat(chat)
        self.store = check_store(store)
        self.prompt = ExpansionPrompt() if prompt is None else prompt
        self.concurrency = concurrency
        self.max_retries = max_retries
        self.prices = prices
        self._redo = ("unanswered", "failed") if retry_failed else ("unanswered",)

    @property
    def recipe(self) -> Recipe:
        """What the entries of this model and prompt are kept under."""
        return Recipe.of(self.chat, self.prompt)

    def estimate(
        self, documents: Iterable[Document], *, limit: int | None = None, seconds_per_call: float | None = None
    ) -> ExpansionEstimate:
        """What `run(documents, limit=limit)` would send, cost and take. Sends nothing and claims nothing.

        Args:
            documents: id and text of each; read once, in one pass.
            limit: as in `run`.
            seconds_per_call: the pace to reckon with until this recipe has entries.

        Raises:
            InputTypeError: a document is not an id and a text.
            ExpansionStoreError: the store cannot be read.
        """
        claims = Claims(self.store, self.recipe, self._redo)
        counter = token_counter(self.chat.model_id)
        fixed = sum(counter.count(message["content"]) for message in self.prompt.messages(""))
        means = self.store.means(self.recipe)
        total = asking = shortened = tokens = 0
        met: set[bytes] = set()
        for some in checked_chunks(documents, 500):
            total += len(some)
            keys = [text_key(text) for _, text in some]
            for (_, text), key, missing in zip(some, keys, claims.missing(keys), strict=True):
                if not missing or key in met or not text.strip() or (limit is not None and asking >= limit):
                    continue
                if len(met) < _MOST_COMPARED:
                    met.add(key)
                asking += 1
                fitting = self.prompt.shortened(text)
                shortened += len(fitting) < len(text.rstrip())
                tokens += fixed + counter.count(encodable(fitting))
        each, written, seconds = means or (1.0, _expected_tokens(self.prompt), seconds_per_call)
        calls = round(asking * each)
        prompt_tokens, completion_tokens = round(tokens * each), round(asking * written)
        return ExpansionEstimate(
            documents=total,
            known=total - asking,
            calls=calls,
            shortened=shortened,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            usd=None if self.prices is None else self.prices.usd(prompt_tokens, completion_tokens),
            seconds=None if seconds is None else asking * seconds / min(self.concurrency, max(1, asking)),
        )

    def run(
        self, documents: Iterable[Document], *, limit: int | None = None, progress: Progress | None = None
    ) -> ExpansionReport:
        """Expand the documents that the store does not know yet. Memory does not grow with their number.

        Args:
            documents: id and text of each; read in this thread, as calls are free.
            limit: at most so many documents are asked about.
            progress: called in this thread with the report so far, at most four times a second and at the end.

        Returns:
            The report of this run.

        Raises:
            InputTypeError: a document is not an id and a text.
            ChatError: the server refuses every call, or as many documents on end as there are calls at a time (at least
                5) got no answer. What was answered until then is in the store.
            ConfigurationError: the model cannot be asked, such as OpenAI's without a key.
            MissingExtraError: the model's package is not installed.
            ExpansionStoreError: the store cannot be read or written, such as on a full disk. No call is made after it.
        """
        if limit is not None:
            check_count("limit", limit, 0)
        if not callable(progress) and progress is not None:
            msg = f"progress is {type(progress).__name__}; expected a function"
            raise ConfigurationError(msg)
        total = len(documents) if isinstance(documents, Sized) else None
        return _Run(self, total, limit, progress, self._redo).over(documents)


class _Task:
    """A document that this run has claimed."""

    __slots__ = ("id", "key", "text")

    def __init__(self, document: Document, key: bytes) -> None:
        self.id, self.text = document
        self.key = key


class _Run:
    """One run: the caller's thread reads, claims and shows; the others ask, write to the store, and count."""

    def __init__(
        self, expander: Expander, total: int | None, limit: int | None, progress: Progress | None, redo: tuple[str, ...]
    ) -> None:
        self._store, self._recipe = expander.store, expander.recipe
        self._concurrency = expander.concurrency
        self._workers = self._concurrency + self._concurrency // 4  # so that calls go on while answers are kept
        self._prices = expander.prices
        self._limit = limit
        self._progress = progress
        self._stop = threading.Event()
        slots = threading.Semaphore(self._concurrency)
        self._asker = Asker(expander.chat, expander.prompt, expander.max_retries, self._stop, slots)
        self._claims = Claims(self._store, self._recipe, redo)
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._claimed = 0
        self._lock = threading.Lock()
        self._under_way = 0
        self._silent = 0
        self._error: BaseException | None = None
        self._awaited = 0
        self._reached = threading.Event()
        self._deferred: deque[tuple[Document, bytes]] = deque()
        self._report = ExpansionReport(total=total)
        self._began = time.perf_counter()
        self._shown = 0.0

    def over(self, documents: Iterable[Document]) -> ExpansionReport:
        self._claims.begin()
        heart = threading.Thread(target=self._beat, name="limiar-expand-heart", daemon=True)
        heart.start()
        try:
            for some in checked_chunks(documents, 2 * self._concurrency):
                self._report.seen += len(some)
                self._take([(document, text_key(document[1])) for document in some])
                if self._full():
                    break
                self._settle_deferred(_MOST_DEFERRED)
            self._settle_deferred(0)
            self._wait_until(0)
        finally:
            self._end(heart)
        self._show(last=True)
        return self._report

    # Reading and claiming

    def _take(self, documents: list[tuple[Document, bytes]]) -> None:
        """Claim what is free and hand it to the threads; put aside what others are at."""
        blank = [(document, key) for document, key in documents if not document[1].strip()]
        rest = [(document, key) for document, key in documents if document[1].strip()]
        most = len(rest) if self._limit is None else self._limit - self._claimed
        standings = self._claims.claim([(document[0], key) for document, key in rest], most)
        for (document, key), standing in zip(rest, standings, strict=True):
            if standing == "known":
                self._report.reused += 1
            elif standing == "elsewhere":
                self._deferred.append((document, key))
            elif standing == "mine":
                self._claimed += 1
                self._hand(_Task(document, key))
        if blank:
            self._store.name_documents(document for document, _ in blank)
            for key in {key for _, key in blank}:
                self._store.put(self._recipe, key, Outcome("done", reason="the document is empty"))
            self._report.empty += len(blank)

    def _hand(self, task: _Task) -> None:
        if self._under_way >= 4 * self._concurrency:
            self._wait_until(2 * self._concurrency)
        with self._lock:
            self._under_way += 1
        self._tasks.put(task)
        if len(self._threads) < min(self._workers, self._under_way):
            name = f"limiar-expand-{len(self._threads)}"
            self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
            self._threads[-1].start()

    def _settle_deferred(self, most: int) -> None:
        """Look again at what others are at, until no more than `most` are left."""
        while len(self._deferred) > most and not self._full():
            again = [self._deferred.popleft() for _ in range(min(len(self._deferred), 500))]
            before = len(self._deferred) + len(again)
            self._take(again)
            if len(self._deferred) < before:
                continue
            if self._under_way:
                self._wait_until(max(0, self._under_way - 1))
            else:
                time.sleep(_PAUSE)
                self._show()

    def _full(self) -> bool:
        return self._limit is not None and self._claimed >= self._limit

    # Asking, in threads of their own

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if not self._stop.is_set():
                self._ask(task)

    def _ask(self, task: _Task) -> None:
        try:
            asked = self._asker.ask(task.text)
            self._store.put(self._recipe, task.key, asked.outcome)
            self._count(asked)
        except Stopped:
            pass  # by an error that is known already
        except BaseException as error:
            with self._lock:
                self._error = self._error or error
            self._stop.set()
            self._reached.set()

    def _beat(self) -> None:
        """Keep this run's claims, and bring its entries to the disk, while it lives."""
        while not self._stop.wait(LEASE / 12):
            try:
                self._claims.renew()
                self._claims.settle()
            except LimiarError as error:  # noqa: PERF203 - the threads that write meet it as well, and end the run
                logger.warning("a run's claims were not renewed (%s)", type(error).__name__)

    # Counting

    def _count(self, asked: Asked) -> None:
        """Count a document. This thread's caller sleeps until there are few enough under way, not for each."""
        outcome = asked.outcome
        with self._lock:
            self._add(asked)
            self._silent = self._silent + 1 if outcome.status == "unanswered" else 0
            silent = self._silent
            self._under_way -= 1
            if self._under_way <= self._awaited:
                self._reached.set()
        if asked.error is not None and silent >= max(5, self._concurrency):
            msg = f"{silent} documents on end got no answer; the last: {asked.error}"
            raise ChatError(msg, kind="fatal") from asked.error

    def _add(self, asked: Asked) -> None:
        report, outcome = self._report, asked.outcome
        report.calls += outcome.calls
        report.prompt_tokens += outcome.prompt_tokens
        report.completion_tokens += outcome.completion_tokens
        report.shortened += asked.shortened
        report.done += outcome.status == "done"
        report.failed += outcome.status == "failed"
        report.unanswered += outcome.status == "unanswered"
        report.refused += outcome.reason.startswith("refusal")

    def _wait_until(self, under_way: int) -> None:
        """Wait until no more than so many documents are under way; show how far the run is meanwhile."""
        while True:
            with self._lock:
                self._awaited = under_way
                self._reached.clear()
                if self._error is not None:
                    raise self._error
                if self._under_way <= under_way:
                    return
            self._reached.wait(_SHOWN_EVERY)
            self._show()

    def _show(self, *, last: bool = False) -> None:
        now = time.perf_counter()
        if not last and now - self._shown < _SHOWN_EVERY:
            return
        self._shown = now
        self._report.seconds = now - self._began
        if self._prices is not None:
            self._report.usd = self._prices.usd(self._report.prompt_tokens, self._report.completion_tokens)
        if self._progress is not None:
            with self._lock:
                so_far = replace(self._report)
            self._progress(so_far)

    def _end(self, heart: threading.Thread) -> None:
        """Let the calls under way end, within a grace, and free what was claimed and not asked."""
        self._stop.set()
        for _ in self._threads:
            self._tasks.put(None)
        until = time.monotonic() + _GRACE
        for thread in [*self._threads, heart]:
            thread.join(max(0.0, until - time.monotonic()))
        try:
            self._claims.release()
        except LimiarError as error:  # a dead run's claims are free as well; the first error is the one to show
            logger.warning("a run's claims were not released (%s)", type(error).__name__)


def checked_chunks(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    """The documents, checked, `size` at a time."""
    iterator = iter(documents)
    position = 0
    while some := list(islice(iterator, size)):
        for offset, document in enumerate(some):
            if (
                not isinstance(document, tuple | list)
                or len(document) != 2
                or not all(isinstance(part, str) for part in document)
            ):
                msg = f"document {position + offset} is {type(document).__name__}; expected (id, text), both strings"
                raise InputTypeError(msg)
        position += len(some)
        yield some


def _expected_tokens(prompt: ExpansionPrompt) -> float:
    """Tokens of an answer that has all the prompt asks for."""
    return 20 + prompt.keywords * (12 + 6 * prompt.synonyms) + 25 * prompt.questions + 80 * prompt.statement
