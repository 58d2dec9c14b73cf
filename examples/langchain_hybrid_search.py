"""Hybrid search in one folder: BM25 and vectors over the same documents, fused, then reranked, with LangChain.

    pip install 'limiar[examples]'
    python langchain_hybrid_search.py "Qual o prazo para publicar o contrato no PNCP?"
    python langchain_hybrid_search.py "What happens without quorum?" --filter '{"topic": "proxmox"}'

The first run indexes the demo corpus (no key, no download); later ones open the index and embed nothing.
"""

import argparse
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from langchain_limiar import HybridDocumentIndex, LimiarRerank, hybrid_rerank
from limiar import HybridIndex, LimiarError
from limiar.errors import StoreNotFoundError
from limiar.evaluation.dataset import load_demo


def open_index(folder: Path) -> HybridIndex:
    """The index in `folder`, which is made if there is none."""
    try:
        return HybridIndex.open(folder)
    except StoreNotFoundError:
        return HybridIndex.create(folder)


def write_documents(documents: HybridDocumentIndex) -> None:
    """Put the demo corpus into the index. What is there already is neither embedded nor written again."""
    passages = [
        Document(passage.full_text, id=passage.id, metadata={"title": passage.title, **passage.metadata})
        for passage in load_demo().passages
    ]
    before = len(documents.index)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Indexando / indexing", total=len(passages))
        documents.upsert(passages, progress=lambda done, _: progress.update(task, completed=done))
    new = len(documents.index) - before
    print(f"{documents.index.folder}: {len(documents.index)} passagens / passages, {new} novas / new")


def show_found(found: list[Document]) -> None:
    """Print a table of the documents found, with each arm's rank and score."""
    table = Table("#", "id", "BM25", "dense", "fused", title="Busca híbrida / hybrid search")
    for number, document in enumerate(found, 1):
        arms = document.metadata["retrieval"]
        bm25, dense = (place(arms.get(name)) for name in ("bm25", "dense"))
        table.add_row(str(number), document.id, bm25, dense, f"{document.metadata['fused_score']:.4f}")
    Console().print(table)


def place(hit: dict[str, Any] | None) -> str:
    """Rank and score in one arm; nothing if the arm did not find the document."""
    return "" if hit is None else f"{hit['rank']}. ({hit['score']:.3f})"


def show_relevant(relevant: list[Document]) -> None:
    """Print what the reranker keeps: documents that passed its threshold, or the closest one that did not."""
    table = Table("id", "relevance_score", "relevance_passed", title="Relevantes / relevant")
    for document in relevant:
        data = document.metadata
        table.add_row(document.id, f"{data['relevance_score']:.2f}", str(data["relevance_passed"]))
    Console().print(table)
    for document in relevant:
        if document.metadata["relevance_passed"]:
            print(f"\n[{document.id}]\n{textwrap.fill(document.page_content, 110)}")


def metadata_filter(text: str) -> dict[str, Any]:
    """A filter given as JSON."""
    where = json.loads(text)
    if not isinstance(where, dict):
        msg = "expected an object"
        raise TypeError(msg)
    return where


def main() -> None:
    """Answer one question."""
    parser = argparse.ArgumentParser(description="Hybrid search over the demo corpus (LangChain).")
    parser.add_argument("question")
    parser.add_argument("--filter", type=metadata_filter, metavar="JSON", help='as in \'{"lang": "pt"}\'')
    parser.add_argument("--k", type=int, default=10, help="rows of the first table; default: %(default)s")
    parser.add_argument("--folder", type=Path, default="hybrid_index", help="of the index; default: %(default)s")
    options = parser.parse_args()
    try:
        with open_index(options.folder) as index:
            documents = HybridDocumentIndex(index=index)
            write_documents(documents)
            show_found(documents.invoke(options.question, k=options.k, filter=options.filter))
            # All 500 best of both arms are reranked; the best 3 over the threshold come back.
            show_relevant(hybrid_rerank(index, LimiarRerank(), filter=options.filter).invoke(options.question))
    except LimiarError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
