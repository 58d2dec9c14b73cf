"""Speed, memory and quality of BM25 engines on JurisTCU's statements.

    python benchmarks/bm25.py --data DIR [--sizes 3038 16000 100000 500000] [--engines NAME...]
    python benchmarks/bm25.py --data DIR --add-one 100000

`DIR` holds `juristcu` in BEIR's layout. Beyond its 3,038 statements the corpus is padded with recombined ones: the
first half of one and the second half of another. Each engine answers the dev questions one by one, analysis included,
top 100, in a process of its own, so that its peak memory is its own; limiar's index is the only one on disk. "Add one"
is the time until one more document can be found: a durable commit in limiar, a rebuild in the others, once with
analysis of all documents (what a retriever that is handed documents does) and once over terms that were kept. The last
lines are nDCG@10 over the whole collection.

The second command compares one document added to a `BM25Index` of so many with what the frameworks' own BM25 retrievers
take to know one document more: they are built anew, from documents and nodes that are in memory (LangChain's splits at
blanks, LlamaIndex's stems). In turn, in one process.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from peers import LANGCHAIN, LLAMA_INDEX, if_installed, langchain_rebuild, llama_index_rebuild
from rich.console import Console
from rich.table import Table

from limiar import Analyzer, BM25Index, IndexDocument, OkapiBM25
from limiar.evaluation.dataset import Collection, load_collection
from limiar.evaluation.metrics import bootstrap_interval, ndcg

ENGINES = ("rank-bm25", "bm25s", "limiar")
TOP = 100
SECONDS_EACH = 3.0
ADD_ROUNDS, ADDS_A_ROUND = 3, 10
Search = Callable[[str], object]
Figures = dict[str, float]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[3038, 16_000])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--add-one", type=int, metavar="SIZE", help="nothing but one document added to so many")
    args = parser.parse_args(argv)
    folder = args.data / "juristcu"
    if args.add_one:
        show_add_one(folder, args.add_one)
        return
    figures = {
        str(size): {engine: in_own_process(engine, folder, size) for engine in args.engines} for size in args.sizes
    }
    for size, engines in figures.items():
        show_speed(int(size), engines)
    quality = show_quality(load_collection(folder, "dev"))
    if args.json:
        args.json.write_text(json.dumps({"speed": figures, "ndcg": quality}, indent=2) + "\n", encoding="utf-8")


def in_own_process(engine: str, folder: Path, size: int) -> Figures:
    """One engine's figures at one size."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, engine, folder, size).result()


def measure(engine: str, folder: Path, size: int) -> Figures:
    """Build, search, add one."""
    collection = load_collection(folder, "dev")
    texts = padded([passage.full_text for passage in collection.passages], size)
    questions = [question.text for question in collection.questions]
    before = peak_mb()
    make = {"rank-bm25": with_rank_bm25, "bm25s": with_bm25s, "limiar": with_limiar}[engine]
    figures = make(texts, questions)
    return {**figures, "peak_mb": peak_mb() - before}


def padded(statements: list[str], size: int) -> list[str]:
    """The statements, then recombined ones, up to `size`."""
    draw = random.Random(0)
    texts = statements[:size]
    while len(texts) < size:
        head, tail = (draw.choice(statements).split() for _ in range(2))
        texts.append(" ".join(head[: len(head) // 2] + tail[len(tail) // 2 :]))
    return texts


def with_rank_bm25(texts: list[str], questions: list[str]) -> Figures:
    """`BM25Okapi` over the same terms, best 100 by numpy."""
    import numpy as np
    from rank_bm25 import BM25Okapi

    analyze = Analyzer("pt")
    terms, analysis = timed(lambda: [analyze(text) for text in texts])
    index, build = timed(lambda: BM25Okapi(terms))

    def search(question: str) -> object:
        scores = index.get_scores(analyze(question))
        best = np.argpartition(scores, -TOP)[-TOP:]
        return best[np.argsort(-scores[best])]

    rate = queries_per_second(search, questions)
    return {"rate": rate, "build": analysis + build, "add": analysis + build, "add_kept_terms": build}


def with_bm25s(texts: list[str], questions: list[str]) -> Figures:
    """bm25s on numpy over the same terms."""
    import bm25s

    analyze = Analyzer("pt")
    terms, analysis = timed(lambda: [analyze(text) for text in texts])
    index = bm25s.BM25()
    _, build = timed(lambda: index.index(terms, show_progress=False))
    rate = queries_per_second(lambda q: index.retrieve([analyze(q)], k=TOP, show_progress=False), questions)
    return {"rate": rate, "build": analysis + build, "add": analysis + build, "add_kept_terms": build}


def with_limiar(texts: list[str], questions: list[str]) -> Figures:
    """`BM25Index`, end to end."""
    with tempfile.TemporaryDirectory() as scratch, BM25Index.create(Path(scratch) / "index") as index:
        documents = (IndexDocument(str(number), {"text": text}) for number, text in enumerate(texts))
        _, build = timed(lambda: index.add(documents))
        rate = queries_per_second(lambda question: index.search(question, TOP), questions)
        adds = [
            timed(lambda number=number: index.add([IndexDocument(f"new{number}", {"text": texts[number]})]))[1]
            for number in range(20)
        ]
        add = statistics.median(adds)
        after = queries_per_second(lambda question: index.search(question, TOP), questions)
        disk = index.stats().size_bytes / 1e6
    return {"rate": rate, "build": build, "add": add, "add_kept_terms": add, "rate_after_adds": after, "disk_mb": disk}


def timed(call: Callable[[], object]) -> tuple[object, float]:
    """What `call` returns, and its seconds."""
    start = time.perf_counter()
    value = call()
    return value, time.perf_counter() - start


def queries_per_second(search: Search, questions: list[str]) -> float:
    """The median over rounds of all questions; at least one round after a short warm-up."""
    for question in questions[:5]:
        search(question)
    rates: list[float] = []
    end = time.perf_counter() + SECONDS_EACH
    while not rates or time.perf_counter() < end:
        rates.append(len(questions) / timed(lambda: [search(question) for question in questions])[1])
    return statistics.median(rates)


def peak_mb() -> float:
    """This process's peak resident memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def show_speed(size: int, engines: dict[str, Figures]) -> None:
    """One table a size; the ratios are to the first engine."""
    first = next(iter(engines.values()))["rate"]
    table = Table(title=f"{size:,} documents, top {TOP}, analysis included")
    for heading in ("engine", "queries/s", "ratio", "build s", "add one ms", "... terms kept", "peak MB", "disk MB"):
        table.add_column(heading, justify="left" if heading == "engine" else "right")
    for name, f in engines.items():
        table.add_row(
            name, f"{f['rate']:,.0f}", f"{f['rate'] / first:.1f}x", f"{f['build']:.2f}",
            f"{f['add'] * 1000:,.0f}", f"{f['add_kept_terms'] * 1000:,.0f}", f"{f['peak_mb']:,.0f}",
            f"{f['disk_mb']:.1f}" if "disk_mb" in f else "-",
        )  # fmt: skip
    Console(width=110).print(table)
    if "limiar" in engines:
        print(f"limiar after 20 single adds: {engines['limiar']['rate_after_adds']:,.0f} queries/s")


def show_add_one(folder: Path, size: int) -> None:
    """Seconds until one more document can be found."""
    *texts, new = padded([passage.full_text for passage in load_collection(folder, "dev").passages], size + 1)
    with tempfile.TemporaryDirectory() as scratch, BM25Index.create(Path(scratch) / "index") as index:
        index.add(IndexDocument(str(number), {"text": text}) for number, text in enumerate(texts))

        def add(number: int) -> object:
            index.add([IndexDocument(f"new{number}", {"text": new})])
            return index.search(new, 1)

        rebuilds = rebuild_calls([*texts, new])
        seconds: dict[str, list[float]] = {"limiar": [], **{name: [] for name in rebuilds}}
        for start in range(0, ADD_ROUNDS * ADDS_A_ROUND, ADDS_A_ROUND):
            for number in range(start, start + ADDS_A_ROUND):
                seconds["limiar"].append(timed(lambda number=number: add(number))[1])
            for name, rebuild in rebuilds.items():
                seconds[name].append(timed(rebuild)[1])
    own = statistics.median(seconds["limiar"])
    table = Table(title=f"one document added to {size:,}")
    for heading in ("", "median ms", "range ms", "to limiar"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, values in seconds.items():
        middle = statistics.median(values)
        span = f"{min(values) * 1e3:,.0f}-{max(values) * 1e3:,.0f}"
        table.add_row(name, f"{middle * 1e3:,.1f}", span, f"{middle / own:,.0f}x")
    Console(width=110).print(table)
    print(f"load average: {os.getloadavg()[0]:.1f}")


def rebuild_calls(texts: list[str]) -> dict[str, Callable[[], object]]:
    """By name, what builds a framework's retriever; those not installed are named and left out."""
    calls: dict[str, Callable[[], object]] = {}
    for name, packages, make in (
        ("LangChain BM25Retriever.from_documents", LANGCHAIN, langchain_rebuild),
        ("LlamaIndex BM25Retriever.from_defaults", LLAMA_INDEX, llama_index_rebuild),
    ):
        if made := if_installed(lambda make=make: make(texts)):
            calls[name] = made
        else:
            print(f"{name}: not installed (pip install {packages})")
    return calls


def show_quality(collection: Collection) -> dict[str, float]:
    """nDCG@10 over the whole collection."""
    documents = [IndexDocument(passage.id, {"text": passage.full_text}) for passage in collection.passages]
    okapi = OkapiBM25()
    okapi.add(documents)
    means: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch, BM25Index.create(Path(scratch) / "index") as index:
        index.add(documents)
        for name, stage in (("BM25Index", index), ("OkapiBM25", okapi)):
            found = ([hit.id for hit in stage.search(question.text, 10)] for question in collection.questions)
            values = [
                ndcg(ids, collection.qrels[question.id])
                for ids, question in zip(found, collection.questions, strict=True)
            ]
            low, high = bootstrap_interval(values)
            means[name] = statistics.mean(values)
            print(f"{collection.name} dev nDCG@10 {name}: {means[name]:.3f} (95 %: {low:.3f} to {high:.3f})")
    return means


if __name__ == "__main__":
    main()
