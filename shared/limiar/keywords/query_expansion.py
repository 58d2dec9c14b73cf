"""Other wordings of a query by a chat model. Where it fails or is late, the query stands alone, and says why."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from limiar.errors import ConfigurationError, ExpansionStoreError, LimiarError
from limiar.inputs import check_query, encodable
from limiar.keywords.asking import Asker
from limiar.keywords.chat import ChatModel
from limiar.keywords.cleaning import key_of
from limiar.keywords.entries import Outcome, Recipe
from limiar.keywords.expansion import Expansion
from limiar.keywords.prompts import ExpansionPrompt
from limiar.keywords.query_prompts import QUERY_VERSION, instructions_for
from limiar.keywords.resolve import choose_chat
from limiar.keywords.store import ExpansionStore, check_store
from limiar.retrieval.arm_threads import MAX_CHAT_THREADS, chat_threads
from limiar.selection import check_count

logger = logging.getLogger("limiar")

DEFAULT_TIMEOUT = 3.0
_KEPT = 4_096
_KEPT_CHARACTERS = 16_000_000  # queries with their variants: a query may be a megabyte
_MOST_CHARACTERS = 2_000
_EDGES = "\"'“”‘’«».,;:?!()"


@dataclass(frozen=True)
class QueryVariants:
    """Other wordings of a query.

    Attributes:
        texts: the query with its synonyms first, then rephrasings; none of them the query itself.
        reason: why there are none; empty if there are.
    """

    texts: tuple[str, ...] = ()
    reason: str = ""


class QueryExpander:
    """Asks a chat model for synonyms and rephrasings of queries, each query once. Thread-safe.

    At most 64 queries of a process wait for a model at a time; another one then has no variants, and says why.

    Args:
        chat: a `ChatModel`, the name of an OpenAI model, or a function from messages to text.
        language: of the prompt, "pt" or "en".
        keywords: at most so many terms of the query.
        synonyms: at most so many for each.
        rephrasings: at most so many.
        timeout: seconds that a search waits for the answer. A late one is kept for the next search.
        store: keeps answers on disk, under a recipe of their own; None keeps the last 4,096 in memory only,
            fewer of long queries.
        max_retries: how often a call is made again after a failure that may pass.

    Raises:
        ConfigurationError: a value is out of its range.

    Example:
        ```python
        from limiar import OpenAIChat, QueryExpander

        expander = QueryExpander(OpenAIChat("gpt-4o-mini"), timeout=2.0)
        print(expander.variants("dispensa de licitação").texts)
        ```
    """

    def __init__(
        self,
        chat: object,
        *,
        language: str = "pt",
        keywords: int = 4,
        synonyms: int = 3,
        rephrasings: int = 2,
        timeout: float = DEFAULT_TIMEOUT,
        store: ExpansionStore | None = None,
        max_retries: int = 1,
    ) -> None:
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0.0 < timeout <= 600.0:
            msg = f"timeout={timeout!r}; expected seconds above 0, at most 600"
            raise ConfigurationError(msg)
        check_count("max_retries", max_retries, 0)
        check_count("rephrasings", rephrasings, 0, 20)  # which the prompt calls questions
        if keywords == rephrasings == 0:
            msg = "keywords=0 and rephrasings=0 ask for nothing; choose at least one"
            raise ConfigurationError(msg)
        self.chat: ChatModel = choose_chat(chat)
        self.prompt = ExpansionPrompt(
            language,
            keywords,
            synonyms,
            questions=rephrasings,
            max_characters=_MOST_CHARACTERS,
            instructions=instructions_for(language, keywords, rephrasings),
            version=QUERY_VERSION,
        )
        self.timeout = timeout
        calls = threading.Semaphore(MAX_CHAT_THREADS)
        self._asker = Asker(self.chat, self.prompt, max_retries, threading.Event(), calls)
        self._recipe = Recipe.of(self.chat, self.prompt)
        self._store = None if store is None else check_store(store)
        self._lock = threading.Lock()
        self._known: OrderedDict[str, QueryVariants] = OrderedDict()
        self._characters = 0
        self._under_way: dict[str, Future[QueryVariants]] = {}

    def variants(self, query: str) -> QueryVariants:
        """The variants of a query, within `timeout` seconds. What goes wrong is the result's `reason`.

        Raises:
            InputError: the query is blank or not text.
        """
        return self.wait(self.begin(query))

    def begin(self, query: str) -> Future[QueryVariants]:
        """Ask in a thread of its own, unless the answer is known or under way. See `wait`."""
        query = encodable(check_query(query))
        with self._lock:
            if query in self._known:
                self._known.move_to_end(query)
                return _settled(self._known[query])
            under_way = self._under_way.get(query)
            if under_way is not None and not under_way.done():
                return under_way
            threads = chat_threads()
            if not threads.take_slot():
                return _settled(QueryVariants(reason=f"{MAX_CHAT_THREADS} other queries wait for an answer"))
            future: Future[QueryVariants] = Future()
            self._under_way[query] = future
        threads.start(future, lambda: self._ask(query))
        return future

    def wait(self, future: Future[QueryVariants], *, since: float | None = None) -> QueryVariants:
        """What `begin` gave, within `timeout` seconds.

        Args:
            future: of `begin`.
            since: the `time.monotonic()` to count from; None for now.
        """
        concurrent.futures.wait([future], self._left(since))
        return self._come(future)

    async def await_(self, future: Future[QueryVariants], *, since: float | None = None) -> QueryVariants:
        """`wait` for coroutines: no thread waits."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def tell(_: object) -> None:
            with suppress(RuntimeError):  # a late answer, and the loop is closed
                loop.call_soon_threadsafe(done.set)

        future.add_done_callback(tell)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(done.wait(), self._left(since))
        return self._come(future)

    def _left(self, since: float | None) -> float:
        return self.timeout if since is None else max(0.0, since + self.timeout - time.monotonic())

    def _come(self, future: Future[QueryVariants]) -> QueryVariants:
        if not future.done():
            found = QueryVariants(reason=f"no answer within {self.timeout} s")
        elif error := future.exception():  # the system has no thread left, or the model's function exits
            found = QueryVariants(reason=type(error).__name__)
        else:
            found = future.result()
        if found.reason:
            logger.warning("a query is searched as it is: %s", found.reason)
        return found

    def _ask(self, query: str) -> QueryVariants:
        try:
            outcome, lasting = self._outcome(query)
            found = _variants(query, outcome)
        except LimiarError as error:
            found, lasting = QueryVariants(reason=f"{type(error).__name__}: {error}"), False
        except Exception as error:
            found, lasting = QueryVariants(reason=type(error).__name__), False
        with self._lock:
            self._under_way.pop(query, None)
            if lasting:
                self._keep(query, found)
        return found

    def _keep(self, query: str, found: QueryVariants) -> None:
        """Remember, and forget what was not used for longest. The caller holds the lock."""
        if (before := self._known.pop(query, None)) is not None:
            self._characters -= _characters(query, before)
        self._known[query] = found
        self._characters += _characters(query, found)
        while len(self._known) > _KEPT or self._characters > _KEPT_CHARACTERS:
            self._characters -= _characters(*self._known.popitem(last=False))

    def _outcome(self, query: str) -> tuple[Outcome, bool]:
        """What the model says, and whether it would say it again."""
        entry = None if self._store is None else self._store.get(self._recipe, query)
        if entry is not None and entry.outcome.status in ("done", "edited", "failed"):
            return entry.outcome, True
        outcome = self._asker.ask(query).outcome
        lasting = outcome.status != "unanswered"
        if lasting and self._store is not None:
            try:
                self._store.put(self._recipe, query, outcome)
            except ExpansionStoreError as error:
                logger.warning("a query's other wordings are kept in memory only: %s", error)
        return outcome, lasting


def _variants(query: str, outcome: Outcome) -> QueryVariants:
    if outcome.status not in ("done", "edited"):
        return QueryVariants(reason=outcome.reason or "the model gave no answer")
    others = {_bare(query): query}
    for text in (_with_synonyms(query, outcome.expansion), *outcome.expansion.questions):
        others.setdefault(_bare(text), encodable(text))
    _, *texts = others.values()
    return QueryVariants(tuple(texts), "" if texts else "the model knows no other words")


def _with_synonyms(query: str, expansion: Expansion) -> str:
    """The query, and after it every term and synonym that it does not have already."""
    there, added = _bare(query), []
    for word in (word for keyword in expansion.keywords for word in (keyword.term, *keyword.synonyms)):
        if _bare(word) not in there:
            there += _bare(word)
            added.append(word)
    return " ".join([query, *added])


def _bare(text: str) -> str:
    """The words of a text between spaces, the same whatever their case, accents and the punctuation around them."""
    return f" {' '.join(word.strip(_EDGES) or word for word in key_of(text).split())} "


def _characters(query: str, found: QueryVariants) -> int:
    return len(query) + sum(map(len, found.texts))


def _settled(found: QueryVariants) -> Future[QueryVariants]:
    future: Future[QueryVariants] = Future()
    future.set_result(found)
    return future
