"""Keyword expansion: documents found by words that they do not contain, with LlamaIndex.

    pip install 'limiar[examples]'
    python llama_index_keyword_expansion.py "certame deserto"
    python llama_index_keyword_expansion.py "certame deserto" --model qwen3:4b --base-url http://localhost:11434/v1

Without --model the words come from statistics and the encoder in the package (no LLM, no key): key phrases and related
words of the corpus itself. With it they come from any server with OpenAI's API; the key is OPENAI_API_KEY. What the
model says is kept in a file: a run that was stopped goes on, and nothing is asked twice. --reword lets the model reword
the question, too. The passages that come back are the originals.
"""

import argparse
import sys
from pathlib import Path

from llama_index.core.schema import NodeWithScore, TextNode
from rich.console import Console
from rich.table import Table

from limiar import (
    Expander,
    ExpansionPrompt,
    ExpansionStore,
    HybridIndex,
    LimiarError,
    OfflineGenerator,
    OpenAIChat,
    QueryExpander,
)
from limiar.errors import StoreNotFoundError
from limiar.evaluation.dataset import load_demo
from llama_index_limiar import KeywordExpander, KeywordExpansionRetriever, add_nodes


def open_index(folder: Path) -> HybridIndex:
    """The index in `folder`, which is made if there is none; it can search the texts alone, or texts and words."""
    try:
        return HybridIndex.open(folder)
    except StoreNotFoundError:
        return HybridIndex.create(folder, views=("text", "both"))


def expander_for(options: argparse.Namespace) -> Expander | OfflineGenerator:
    """Who writes the words."""
    if options.model is None:
        return OfflineGenerator()
    chat = OpenAIChat(options.model, base_url=options.base_url)
    store = ExpansionStore(options.folder.with_suffix(".keywords.sqlite"))
    return Expander(chat, store, ExpansionPrompt(questions=2), concurrency=options.concurrency, max_retries=2)


def rewording_for(options: argparse.Namespace) -> QueryExpander | None:
    """Who rewords the question."""
    if not options.reword:
        return None
    return QueryExpander(OpenAIChat(options.model, base_url=options.base_url), timeout=30.0)


def write(index: HybridIndex, expander: Expander | OfflineGenerator) -> None:
    """Expand the demo corpus and put it into the index."""
    nodes = [TextNode(id_=passage.id, text=passage.full_text) for passage in load_demo().passages]
    expanded = KeywordExpander(expander=expander)(nodes)
    add_nodes(index, expanded)
    words = sum("limiar_expansion" in node.metadata for node in expanded)
    print(f"{len(nodes)} passagens, {words} com palavras geradas / passages, {words} with generated words")


def show_searches(index: HybridIndex, options: argparse.Namespace, rewording: QueryExpander | None) -> None:
    """The same question with and without the generated words."""
    plain = KeywordExpansionRetriever(index, index_on="text", similarity_top_k=options.k)
    show(index, "Só o texto / the text alone", plain.retrieve(options.question))
    expanded = KeywordExpansionRetriever(index, index_on="both", similarity_top_k=options.k, expander=rewording)
    show(index, "Texto e palavras / text and words", expanded.retrieve(options.question))


def show(index: HybridIndex, title: str, found: list[NodeWithScore]) -> None:
    """Print the passages found, and the words that were written for each: they are in the index only."""
    table = Table("#", "id", "BM25", "dense", "palavras geradas / generated words", title=title)
    for number, item in enumerate(found, 1):
        arms = item.metadata["retrieval"]
        bm25, dense = (str(arms[name]["rank"]) if name in arms else "" for name in ("bm25", "dense"))
        (stored,) = index.get([item.node_id])
        table.add_row(str(number), item.node_id, bm25, dense, stored.generated.get("keywords", ""))
    Console().print(table)
    if found and (skipped := found[0].metadata.get("retrieval_skipped")):
        print(f"!  {skipped}")


def main() -> None:
    """Answer one question."""
    parser = argparse.ArgumentParser(description="Keyword expansion over the demo corpus (LlamaIndex).")
    parser.add_argument("question")
    parser.add_argument("--model", metavar="NAME", help="a chat model that writes the words; default: no model")
    parser.add_argument("--base-url", metavar="URL", help="its server; default: OpenAI's")
    parser.add_argument("--reword", action="store_true", help="let the model reword the question, too")
    parser.add_argument("--concurrency", type=int, default=8, help="calls at a time; default: %(default)s")
    parser.add_argument("--k", type=int, default=5, help="rows of each table; default: %(default)s")
    parser.add_argument("--folder", type=Path, default="keyword_index", help="of the index; default: %(default)s")
    options = parser.parse_args()
    if options.reword and options.model is None:
        parser.error("--reword needs --model")
    if options.k < 1:
        parser.error(f"--k {options.k}; expected at least 1")
    try:
        with open_index(options.folder) as index:
            if not len(index):
                write(index, expander_for(options))
            show_searches(index, options, rewording_for(options))
    except LimiarError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
