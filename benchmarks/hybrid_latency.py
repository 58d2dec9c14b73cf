"""How long a `HybridIndex` takes to answer, alone, through the frameworks' adapters, and with a reranker behind it.

What is compared is called in turn for each question, in another order each time, so that whatever else the machine
does hits all of it alike. Quote the ratios: milliseconds depend on the machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.progress import track
from rich.table import Table

from langchain_limiar import HybridRetriever, LimiarRerank, hybrid_rerank
from limiar import HybridIndex, LateInteractionScorer
from llama_index_limiar import HybridRetriever as LlamaIndexHybridRetriever

Calls = Mapping[str, Callable[[str], object]]
ARMS = {"BM25 arm": {"dense": 0.0}, "dense arm": {"bm25": 0.0}, "hybrid": {}}
DEEP = 500
COLD_QUESTIONS = 15
CACHE_MB = 2000


def show_latency(index: HybridIndex, questions: Sequence[str], rounds: int) -> None:
    """Each arm alone, the question's vector included, and both."""
    arms = in_turn({name: search_in(index, weights) for name, weights in ARMS.items()}, questions, rounds)
    show(f"index.search, k=10, {len(questions) * rounds} calls each", arms)
    print(f"hybrid / slower arm: {hybrid_ratio(arms):.2f}x")


def show_adapters(index: HybridIndex, questions: Sequence[str], rounds: int) -> None:
    """What the frameworks add to the plain search. For small differences to show, vectors should be at hand."""
    for k in (10, DEEP):
        show(f"adapters, k={k}", in_turn(adapters(index, k), questions, rounds), base="index.search")


def in_turn(calls: Calls, questions: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """By name, the seconds of each call, in the same order of questions for all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call(questions[0])
    asked = list(questions) * rounds
    for number, question in enumerate(track(asked, "timing", transient=True)):
        names = list(calls)
        start = number % len(names)
        for name in names[start:] + names[:start]:
            seconds[name].append(timed(lambda name=name, question=question: calls[name](question)))
    return seconds


def hybrid_ratio(arms: Mapping[str, Sequence[float]]) -> float:
    """The median of the hybrid search to that of the slower arm."""
    return statistics.median(arms["hybrid"]) / max(statistics.median(arms[name]) for name in ("BM25 arm", "dense arm"))


def adapters(index: HybridIndex, k: int) -> Calls:
    """The plain search and the same through each framework."""
    return {
        "index.search": lambda question: index.search(question, k),
        "LangChain HybridRetriever": HybridRetriever(index=index, k=k).invoke,
        "LlamaIndex HybridRetriever": LlamaIndexHybridRetriever(index=index, similarity_top_k=k).retrieve,
    }


def show_rerank(index: HybridIndex, questions: Sequence[str]) -> None:
    """LangChain's `hybrid_rerank`, 500 in and at most 3 out, with passages new to the scorer and seen before."""
    scorer = LateInteractionScorer(cache_mb=CACHE_MB)
    pipeline = hybrid_rerank(index, LimiarRerank(scorer=scorer))
    first_stage = HybridRetriever(index=index, k=DEEP)
    pipeline.invoke(questions[0])
    seconds: dict[str, list[float]] = {"first stage alone": [], "new to the scorer": [], "seen before": []}
    for question in track(questions, "reranking", transient=True):
        scorer.cache.clear()
        seconds["new to the scorer"].append(timed(lambda question=question: pipeline.invoke(question)))
        seconds["seen before"].append(timed(lambda question=question: pipeline.invoke(question)))
        seconds["first stage alone"].append(timed(lambda question=question: first_stage.invoke(question)))
    show(f"hybrid_rerank, {DEEP} to 3, {len(questions)} questions", seconds)


def timed(call: Callable[[], object]) -> float:
    """Its seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def show(title: str, seconds: Mapping[str, Sequence[float]], base: str | None = None) -> None:
    """A line for each; what it adds to `base` is the median of the differences, question by question."""
    table = Table(title=title)
    for heading in ("", "median ms", "95th percentile ms", *(["added ms"] if base else [])):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, values in seconds.items():
        cells = [f"{statistics.median(values) * 1e3:,.2f}", f"{statistics.quantiles(values, n=20)[-1] * 1e3:,.2f}"]
        if base:
            pairs = zip(values, seconds[base], strict=True)
            added = statistics.median(one - other for one, other in pairs)
            cells.append("" if name == base else f"{added * 1e3:.2f}")
        table.add_row(name, *cells)
    Console().print(table)


def search_in(index: HybridIndex, weights: Mapping[str, float]) -> Callable[[str], object]:
    """A search for 10 with these weights of the arms."""
    return lambda question: index.search(question, 10, weights=weights)
