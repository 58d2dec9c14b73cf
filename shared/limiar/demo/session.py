"""The demo's three ways to run: a chat, one question, or the whole judged set."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from limiar.demo.index import DemoIndex
from limiar.demo.llm import LLM, LLMError, configured_llm
from limiar.demo.measure import Measurements, Outcome, measure
from limiar.demo.options import FIRST_STAGE_TOP, DemoOptions
from limiar.demo.pipeline import Exchange, Pipeline
from limiar.demo.show import (
    demo_console,
    heading,
    note,
    plain,
    progress_bar,
    show_exchange,
    show_fallback,
    show_line,
    show_line_header,
    show_measurements,
    show_passages,
    show_sources,
)
from limiar.errors import ConfigurationError, LimiarError
from limiar.evaluation.dataset import Collection, Question, load_demo
from limiar.rerank import Reranker
from limiar.scoring.late_interaction import LateInteractionScorer
from limiar.scoring.protocol import Scorer

if TYPE_CHECKING:
    from rich.console import Console

_PROMPT = "pergunta / question> "
_COLD_QUESTIONS = 20
_KEYWORDS = {
    "offline": "written offline, by statistics and the bundled encoder (no LLM), indexed beside the texts",
    "none": "none",
}


def run_demo(options: DemoOptions) -> None:
    """Run the demo on standard input and output.

    Raises:
        LimiarError: a part cannot be configured, loaded or opened.
    """
    console = demo_console(no_color=options.no_color)
    llm = configured_llm(options.llm_model, options.llm_base_url)
    reranker, uncached = _rerankers(options)
    collection = load_demo()
    by_words = options.keywords == "offline"
    with _folder(options.db) as folder:
        _introduce(console, collection, reranker, options, llm)
        reranker.warm_up()
        index = DemoIndex(folder, collection.passages)
        try:
            _fill(console, index, expand=by_words)
            session = Session(console, Pipeline(index, reranker, uncached, options.candidates, by_words), llm)
            if options.question is not None:
                session.answer(options.question)
            elif options.wants_set or not _at_a_terminal():
                numbers, outcomes = session.run_set(collection, options.limit)
                if options.json_path is not None:
                    _write_json(options, reranker, numbers, outcomes)
            else:
                session.chat()
        finally:
            index.close()


class Session:
    """Questions and answers on one console."""

    def __init__(self, console: Console, pipeline: Pipeline, llm: LLM | None) -> None:
        self.console = console
        self.pipeline = pipeline
        self.llm = llm
        self.policy = pipeline.reranker.policy

    def answer(self, question: str) -> None:
        """Show one question's way through the chain, and its answer."""
        heading(self.console, "One question")
        self._show(self.pipeline.ask(question))

    def chat(self) -> None:
        """Ask for questions until an empty line or the end of the input."""
        with suppress(ImportError):
            import readline  # noqa: F401  (line editing and history for input())
        heading(self.console, "Chat")
        note(self.console, "Portuguese or English; each question stands on its own. An empty line or Ctrl-D ends.")
        while question := _read_question(self.console):
            self._try(question)

    def _try(self, question: str) -> None:
        try:
            self._show(self.pipeline.ask(question))
        except LimiarError as error:
            note(self.console, f"limiar: {error}", "red")

    def run_set(self, collection: Collection, limit: int | None) -> tuple[Measurements, list[Outcome]]:
        """Three examples, a line for each question, and the table."""
        questions = spread(collection.questions, limit)
        relevant = {question.id: _relevant(collection, question) for question in questions}
        for question in examples(questions, relevant):
            heading(self.console, f"Example {question.id}")
            self._show(self.pipeline.ask(question.text), relevant[question.id])
        heading(self.console, f"All {len(questions)} questions")
        outcomes = self._outcomes(questions, relevant)
        numbers = measure(outcomes)
        heading(self.console, "Irrelevant passages before and after limiar")
        show_measurements(self.console, numbers, self.policy, self.pipeline.reranker.scorer.model_id)
        return numbers, outcomes

    def _outcomes(self, questions: Sequence[Question], relevant: dict[str, frozenset[str]]) -> list[Outcome]:
        timed_cold = {question.id for question in spread(questions, _COLD_QUESTIONS)}
        outcomes: list[Outcome] = []
        show_line_header(self.console)
        with progress_bar(self.console, "questions") as progress:
            for question in questions:
                exchange = self.pipeline.ask(question.text)
                cold = question.id in timed_cold
                outcomes.append(self.pipeline.outcome(question.id, exchange, relevant[question.id], cold=cold))
                show_line(self.console, outcomes[-1], question.text)
                progress(len(outcomes), len(questions))
        return outcomes

    def _show(self, exchange: Exchange, relevant: frozenset[str] | None = None) -> None:
        show_exchange(self.console, exchange, self.policy, relevant)
        self.console.print()
        if exchange.result.fell_back:
            show_fallback(self.console, exchange, self.policy)
        elif self.llm is None:
            show_passages(self.console, exchange)
        else:
            self._stream(self.llm, exchange)

    def _stream(self, llm: LLM, exchange: Exchange) -> None:
        self.console.print(Text.assemble(("Answer ", "bold"), (f"({llm.name})", "dim")))
        try:
            for piece in llm.answer(exchange.question, [hit.passage for hit in exchange.kept]):
                self.console.print(Text(plain(piece)), end="", soft_wrap=True)
        except LLMError as error:
            self.console.print()
            note(self.console, f"{error}. The passages that it would have been given:", "red")
            show_passages(self.console, exchange)
        else:
            self.console.print()
            show_sources(self.console, exchange)


def spread(questions: Sequence[Question], limit: int | None) -> list[Question]:
    """At most `limit` of the questions, evenly spaced, in their order; all if `limit` is None."""
    count = len(questions) if limit is None else min(limit, len(questions))
    return [questions[place * len(questions) // count] for place in range(count)]


def examples(questions: Sequence[Question], relevant: dict[str, frozenset[str]]) -> list[Question]:
    """Three to show in full, whatever their outcome: a Portuguese, an English and an unanswerable one, if there are.

    The first full question of each kind, or the first one of any form.
    """
    ordered = sorted(questions, key=lambda question: question.metadata.get("kind") != "question")
    answerable = [question for question in ordered if relevant[question.id]]
    candidates = (
        [question for question in answerable if question.metadata.get("lang") == "pt"],
        [question for question in answerable if question.metadata.get("lang") == "en"],
        [question for question in ordered if not relevant[question.id]],
    )
    return [some[0] for some in candidates if some]


def _relevant(collection: Collection, question: Question) -> frozenset[str]:
    return frozenset(id_ for id_, grade in collection.qrels.get(question.id, {}).items() if grade > 0)


def _rerankers(options: DemoOptions) -> tuple[Reranker, Reranker]:
    """The reranker, and one whose scorer keeps no passages."""
    reranker = _reranker(options, options.model)
    return reranker, _reranker(options, LateInteractionScorer(cache_mb=0) if options.model is None else reranker.scorer)


def _reranker(options: DemoOptions, scorer: Scorer | str | None) -> Reranker:
    return Reranker(scorer, threshold=options.threshold, top_k=options.top_k, fallback=options.fallback)


def _introduce(
    console: Console, collection: Collection, reranker: Reranker, options: DemoOptions, llm: LLM | None
) -> None:
    policy = reranker.policy
    note(console, "limiar: RAG that answers from relevant passages only", "bold")
    note(
        console,
        f"corpus: {len(collection.passages)} passages on infrastructure support and public administration, pt and en\n"
        f"without limiar: Chroma's top {FIRST_STAGE_TOP} go into the prompt, whatever they are\n"
        f"with limiar: of the {options.candidates} best by Chroma and BM25 together, at most {policy.top_k} that score "
        f"{policy.threshold:g} or more\n"
        f"keywords: {_KEYWORDS[options.keywords]}\n"
        f"scorer: {reranker.scorer.model_id}",
    )
    if llm is None:
        note(
            console,
            "answers: the kept passages themselves; for an LLM's, set OPENAI_API_KEY or give --llm-base-url",
        )
    else:
        note(console, f"answers: by {llm.name}, from the kept passages")


def _fill(console: Console, index: DemoIndex, *, expand: bool) -> None:
    start = time.perf_counter()
    with progress_bar(console, "indexing") as progress:
        added = index.fill(progress)
    new = added.added + added.replaced
    note(console, f"index: {new} passages new, {added.unchanged} there already ({_since(start)})")
    if expand:
        start = time.perf_counter()
        with progress_bar(console, "keywords") as progress:
            written = index.expand(progress)
        counts = f"{written.replaced} passages new, {written.unchanged} there already"
        note(console, f"keywords: {counts} ({_since(start)})")
    index.settle()


def _since(start: float) -> str:
    return f"{time.perf_counter() - start:.1f} s"


@contextmanager
def _folder(db: Path | None) -> Iterator[Path]:
    if db is not None:
        yield db
        return
    with tempfile.TemporaryDirectory(prefix="limiar-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _read_question(console: Console) -> str:
    """The next question; empty at the end."""
    console.print()
    try:
        return input(_PROMPT).strip()
    except EOFError:
        console.print()
        return ""
    except UnicodeDecodeError:
        note(console, "That line is not in the terminal's encoding; please type it again.", "red")
        return _read_question(console)


def _write_json(options: DemoOptions, reranker: Reranker, numbers: Measurements, outcomes: Sequence[Outcome]) -> None:
    if options.json_path is None:
        return
    content = {
        "settings": {
            "scorer": reranker.scorer.model_id,
            **asdict(reranker.policy),
            "keywords": options.keywords,
            "candidates": options.candidates,
            "first_stage_top": FIRST_STAGE_TOP,
        },
        "measurements": numbers.as_dict(),
        "questions": [{**asdict(outcome), "relevant": sorted(outcome.relevant)} for outcome in outcomes],
    }
    try:
        options.json_path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        msg = f"--json {options.json_path} cannot be written ({error})"
        raise ConfigurationError(msg) from error
