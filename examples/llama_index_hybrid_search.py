"""Hybrid search in one folder: BM25 and vectors over the same documents, fused, then reranked, with LlamaIndex.

    pip install 'limiar[examples]'
    python llama_index_hybrid_search.py "Qual o prazo para publicar o contrato no PNCP?"
    python llama_index_hybrid_search.py "What happens without quorum?" --filter '{"topic": "proxmox"}'

The first run indexes the demo corpus (no key, no download); later ones open the index and embed nothing.
"""

import argparse
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from llama_index.core.schema import NodeWithScore, TextNode
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from limiar import HybridIndex, LimiarError
from limiar.errors import StoreNotFoundError
from limiar.evaluation.dataset import load_demo
from llama_index_limiar import HybridRetriever, LimiarRerank, add_nodes, hybrid_rerank


def open_index(folder: Path) -> HybridIndex:
    """The index in `folder`, which is made if there is none."""
    try:
        return HybridIndex.open(folder)
    except StoreNotFoundError:
        return HybridIndex.create(folder)


def write_nodes(index: HybridIndex) -> None:
    """Put the demo corpus into the index. What is there already is neither embedded nor written again."""
    nodes = [
        TextNode(id_=passage.id, text=passage.full_text, metadata={"title": passage.title, **passage.metadata})
        for passage in load_demo().passages
    ]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Indexando / indexing", total=len(nodes))
        report = add_nodes(index, nodes, progress=lambda done, _: progress.update(task, completed=done))
    print(f"{index.folder}: {len(index)} passagens / passages, {report.added} novas / new")


def show_found(found: list[NodeWithScore]) -> None:
    """Print a table of the nodes found, with each arm's rank and score."""
    table = Table("#", "id", "BM25", "dense", "fused", title="Busca híbrida / hybrid search")
    for number, node in enumerate(found, 1):
        arms = node.metadata["retrieval"]
        bm25, dense = (place(arms.get(name)) for name in ("bm25", "dense"))
        table.add_row(str(number), node.node_id, bm25, dense, f"{node.score:.4f}")
    Console().print(table)


def place(hit: dict[str, Any] | None) -> str:
    """Rank and score in one arm; nothing if the arm did not find the node."""
    return "" if hit is None else f"{hit['rank']}. ({hit['score']:.3f})"


def show_relevant(relevant: list[NodeWithScore]) -> None:
    """Print what the reranker keeps: nodes that passed its threshold, or the closest one that did not."""
    table = Table("id", "relevance_score", "relevance_passed", title="Relevantes / relevant")
    for node in relevant:
        table.add_row(node.node_id, f"{node.score:.2f}", str(node.metadata["relevance_passed"]))
    Console().print(table)
    for node in relevant:
        if node.metadata["relevance_passed"]:
            print(f"\n[{node.node_id}]\n{textwrap.fill(node.text, 110)}")


def metadata_filter(text: str) -> dict[str, Any]:
    """A filter given as JSON."""
    where = json.loads(text)
    if not isinstance(where, dict):
        msg = "expected an object"
        raise TypeError(msg)
    return where


def main() -> None:
    """Answer one question."""
    parser = argparse.ArgumentParser(description="Hybrid search over the demo corpus (LlamaIndex).")
    parser.add_argument("question")
    parser.add_argument("--filter", type=metadata_filter, metavar="JSON", help='as in \'{"lang": "pt"}\'')
    parser.add_argument("--k", type=int, default=10, help="rows of the first table; default: %(default)s")
    parser.add_argument("--folder", type=Path, default="hybrid_index", help="of the index; default: %(default)s")
    options = parser.parse_args()
    try:
        with open_index(options.folder) as index:
            write_nodes(index)
            retriever = HybridRetriever(index=index, similarity_top_k=options.k, filter=options.filter)
            show_found(retriever.retrieve(options.question))
            # All 500 best of both arms are reranked; the best 3 over the threshold come back.
            show_relevant(hybrid_rerank(index, LimiarRerank(), filter=options.filter).retrieve(options.question))
    except LimiarError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
