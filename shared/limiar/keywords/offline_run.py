"""The generator that needs no LLM, writing to a store as an `Expander` does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import replace
from itertools import islice

from limiar.errors import ConfigurationError
from limiar.keywords.claims import Claims
from limiar.keywords.entries import Outcome, Recipe, text_key
from limiar.keywords.expansion import Expansion, Keyword
from limiar.keywords.generate import Progress, checked_chunks
from limiar.keywords.offline import Keywords, OfflineGenerator
from limiar.keywords.report import ExpansionEstimate, ExpansionReport
from limiar.keywords.store import ExpansionStore, check_store
from limiar.selection import check_count

_BATCH = 500

Document = tuple[str, str]


class OfflineExpander:
    """Keeps what an `OfflineGenerator` says of documents in a store, under a recipe of its own.

    The entries can be shown, edited, exported and applied to an index like a language model's. A text that has an entry
    is passed over, although another corpus might give it other key words: `store.forget` it to have it made anew.

    Args:
        generator: it learns the documents of each run that has something to do.
        store: where the expansions are kept.

    Raises:
        ConfigurationError: `generator` or `store` is none.

    Example:
        ```python
        expander = OfflineExpander(OfflineGenerator(), ExpansionStore("keywords.sqlite"))
        expander.run(IndexTexts(index))
        apply_expansions(index, expander.store, expander.recipe)
        ```
    """

    def __init__(self, generator: OfflineGenerator, store: ExpansionStore) -> None:
        if not isinstance(generator, OfflineGenerator):
            msg = f"generator is {type(generator).__name__}; expected a limiar.OfflineGenerator"
            raise ConfigurationError(msg)
        self.generator = generator
        self.store = check_store(store)

    @property
    def recipe(self) -> Recipe:
        """What the entries are kept under: the generator's method, numbers and encoder. The corpus is no part of it."""
        parameters = json.dumps(self.generator.parameters, sort_keys=True)
        return Recipe(self.generator.model_id, parameters, "", "")

    def estimate(self, documents: Iterable[Document], *, limit: int | None = None) -> ExpansionEstimate:
        """How many documents `run` would expand: `documents - known`. There are no calls, tokens and costs.

        Raises:
            InputTypeError: a document is not an id and a text.
            ExpansionStoreError: the store cannot be read.
        """
        total = missing = 0
        for some, unknown in self._looked_up(documents):
            total += len(some)
            missing += sum(unknown)
        missing = missing if limit is None else min(missing, limit)
        return ExpansionEstimate(total, total - missing, 0, 0, 0, 0, None, None)

    def run(
        self,
        documents: Iterable[Document],
        *,
        limit: int | None = None,
        progress: Progress | None = None,
        learning: Callable[[int, int], None] | None = None,
    ) -> ExpansionReport:
        """Learn the documents, and expand those that the store does not know yet.

        Args:
            documents: id and text of each; read three times, so no iterator.
            limit: at most so many documents are expanded; all are learned.
            progress: called with the report so far, after each 500 documents.
            learning: called with (done, total) of the texts and words that the encoder reads.

        Returns:
            The report of this run, without calls and tokens.

        Raises:
            ConfigurationError: `documents` can be read once only.
            InputTypeError: a document is not an id and a text.
            ExpansionStoreError: the store cannot be read or written.
        """
        if isinstance(documents, Iterator):
            msg = "documents is an iterator, which can be read once only; expected a list, or anything to read again"
            raise ConfigurationError(msg)
        if limit is not None:
            check_count("limit", limit, 0)
        report = ExpansionReport(total=len(documents) if isinstance(documents, Sized) else None)
        began = time.perf_counter()
        ahead = self.estimate(documents, limit=limit)
        if ahead.known < ahead.documents:
            self.generator.fit((text for _, text in documents), progress=learning)
        for some, unknown in self._looked_up(documents):
            self.store.name_documents(some)
            most = len(some) if limit is None else limit - report.done - report.empty
            new = list(islice((it for it, is_new in zip(some, unknown, strict=True) if is_new), most))
            self._expand(new)
            report.seen += len(some)
            blank = sum(not text.strip() for _, text in new)
            report.done += len(new) - blank
            report.empty += blank
            report.reused += len(some) - sum(unknown)
            report.seconds = time.perf_counter() - began
            if progress is not None:
                progress(replace(report))
        return report

    def _looked_up(self, documents: Iterable[Document]) -> Iterator[tuple[list[Document], list[bool]]]:
        """Some documents at a time, and of each whether its text has no entry."""
        claims = Claims(self.store, self.recipe, ("failed", "unanswered"))
        for some in checked_chunks(documents, _BATCH):
            yield some, list(claims.missing([text_key(text) for _, text in some]))

    def _expand(self, documents: Sequence[Document]) -> None:
        texts = [text for _, text in documents]
        for text, keywords in zip(texts, self.generator.generate_all(texts) if texts else [], strict=True):
            expansion = _expansion(keywords)
            self.store.put(self.recipe, text, Outcome("done", expansion, "" if expansion else "it has no key words"))


def _expansion(keywords: Keywords) -> Expansion:
    return Expansion(tuple(Keyword(term, tuple(related)) for term, related in keywords))
