"""A `HybridIndex` of many made-up documents: time to write, bytes on disk, memory, and time to answer.

Texts are 60 to 140 words drawn from a vocabulary of 50,000 by Zipf's law; vectors are random and of length 1, so that
no time goes into embedding. Random vectors are the worst case for a graph: nothing is near anything.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from hybrid_latency import ARMS, hybrid_ratio, in_turn, search_in, show

from limiar import HybridIndex, IndexDocument

VOCABULARY = 50_000
DIMENSIONS = 384
QUESTIONS = 200
ADDS = 20
REPORT_EVERY = 60.0


class RandomEncoder:
    """A vector for each text that depends on nothing but the text's digest."""

    model_id = "random"
    dimensions = DIMENSIONS

    def embed_query(self, text: str) -> np.ndarray:
        return self.embed_documents([text])[0]

    def embed_documents(self, texts: Sequence[str], *, progress: object = None) -> np.ndarray:  # noqa: ARG002
        seeds = (int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") for text in texts)
        vectors = np.stack([np.random.default_rng(seed).standard_normal(DIMENSIONS, np.float32) for seed in seeds])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Words:
    """Makes texts."""

    def __init__(self) -> None:
        self._draw = np.random.default_rng(0)
        chances = 1 / np.arange(1, VOCABULARY + 1)
        self._steps = np.cumsum(chances / chances.sum())

    def text(self, least: int, most: int) -> str:
        """Between so many words."""
        places = np.searchsorted(self._steps, self._draw.random(self._draw.integers(least, most)))
        return " ".join(f"termo{place:x}" for place in places)


def show_size(size: int) -> None:
    """In a process of its own, so that its peak memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(_show, size).result()


def _show(size: int) -> None:
    words = Words()
    with tempfile.TemporaryDirectory() as folder:
        before = _peak_mb()
        with HybridIndex.create(Path(folder) / "index", encoder=RandomEncoder()) as index:
            start = time.perf_counter()
            index.add(_documents(words, size), progress=_Reports(start))
            seconds = time.perf_counter() - start
            print(f"{size:,} documents added in {seconds:,.0f} s: {size / seconds:,.0f} a second")
            print(f"  CPU time of this process: {time.process_time():,.0f} s, load {os.getloadavg()[0]:.1f}")
            stats = index.stats()
            print(f"{stats.size_bytes / 1e6:,.0f} MB on disk, {stats.size_bytes / size / 1e3:.1f} kB a document")
            for part, bytes_on_disk in _parts(index.folder).items():
                print(f"  {part}: {bytes_on_disk / 1e6:,.0f} MB")
            print(f"peak memory: {_peak_mb():,.0f} MB, {before:,.0f} MB of them before the index was made")
            questions = [words.text(4, 12) for _ in range(QUESTIONS)]
            arms = in_turn({name: search_in(index, weights) for name, weights in ARMS.items()}, questions, 1)
            show(f"index.search, k=10, {size:,} documents, {QUESTIONS} calls each", arms)
            print(f"hybrid / slower arm: {hybrid_ratio(arms):.2f}x")
            adds = []
            for number in range(ADDS):
                document = IndexDocument(f"new{number}", {"text": words.text(60, 140)})
                begun = time.perf_counter()
                index.add([document])
                adds.append(time.perf_counter() - begun)
            print(f"one more document: {statistics.median(adds) * 1e3:.0f} ms (median of {ADDS})")
        begun = time.perf_counter()
        with HybridIndex.open(Path(folder) / "index", encoder=RandomEncoder()) as index:
            index.search(questions[0])
            print(f"opened and first answer: {time.perf_counter() - begun:.2f} s")


class _Reports:
    """Says once a minute how far it is."""

    def __init__(self, start: float) -> None:
        self._start = self._last = start

    def __call__(self, done: int, _: int | None) -> None:
        now = time.perf_counter()
        if now - self._last >= REPORT_EVERY:
            self._last = now
            print(f"  {done:,} after {now - self._start:,.0f} s, load {os.getloadavg()[0]:.1f}", flush=True)


def _documents(words: Words, size: int) -> Iterator[IndexDocument]:
    return (IndexDocument(str(number), {"text": words.text(60, 140)}, {"group": number % 7}) for number in range(size))


def _parts(folder: Path) -> dict[str, int]:
    """Bytes of each file or folder of the index."""
    sizes: dict[str, int] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            part = path.relative_to(folder).parts[0]
            sizes[part] = sizes.get(part, 0) + path.stat().st_size
    return sizes


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
