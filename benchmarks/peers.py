"""The frameworks' own retrievers over given passages, for comparison. None of them is a dependency of limiar."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from limiar import Analyzer, Encoder

T = TypeVar("T")
Search = Callable[[str], list[str]]
"""From a question to ids, best first."""
ID_KEY = "passage"


@dataclass(frozen=True)
class Passages:
    """What all peers search.

    Attributes:
        texts: by id.
        encoder: of passages and questions.
        depth: how many passages each arm brings, and how many come back.
    """

    texts: Mapping[str, str]
    encoder: Encoder
    depth: int


@dataclass(frozen=True)
class Peer:
    """A first stage of a framework.

    Attributes:
        name: for tables.
        packages: that `pip install` needs to name.
        make: indexes the passages; raises `ImportError` where a package is missing.
    """

    name: str
    packages: str
    make: Callable[[Passages], Search]

    def search_in(self, passages: Passages) -> Search | None:
        """What finds ids; None where a package is missing."""
        return if_installed(lambda: self.make(passages))


def if_installed(make: Callable[[], T]) -> T | None:
    """What `make` returns; None where a package that it imports is missing."""
    try:
        return make()
    except ImportError:
        return None


def langchain_bm25(passages: Passages, *, portuguese: bool = False) -> Search:
    """`BM25Retriever` as it is, which splits at blanks, or with limiar's analyzer."""
    retriever = _langchain_bm25_retriever(passages, portuguese=portuguese)
    return lambda question: [document.id for document in retriever.invoke(question)]


def langchain_ensemble(passages: Passages, *, id_key: str | None = ID_KEY) -> Search:
    """`EnsembleRetriever` of `BM25Retriever` and vectors in memory; without an `id_key`, equal texts add up."""
    from langchain_classic.retrievers import EnsembleRetriever
    from langchain_core.vectorstores import InMemoryVectorStore

    from langchain_limiar import LimiarEmbeddings

    lexical = _langchain_bm25_retriever(passages)
    store = InMemoryVectorStore(LimiarEmbeddings(encoder=passages.encoder))
    store.add_documents(lexical.docs)
    dense = store.as_retriever(search_kwargs={"k": passages.depth})
    ensemble = EnsembleRetriever(retrievers=[lexical, dense], id_key=id_key)
    return lambda question: [document.id for document in ensemble.invoke(question)]


def llama_index_bm25(passages: Passages) -> Search:
    """`BM25Retriever` with Portuguese stop words and stems."""
    retriever = _llama_index_bm25_retriever(passages)
    return lambda question: [found.node.node_id for found in retriever.retrieve(question)]


def llama_index_fusion(passages: Passages, *, with_metadata: bool = True) -> Search:
    """`QueryFusionRetriever` (reciprocal rank, no generated queries) of `BM25Retriever` and `VectorStoreIndex`.

    Nodes of equal text and metadata add up in it.
    """
    from llama_index.core import VectorStoreIndex
    from llama_index.core.llms import MockLLM
    from llama_index.core.retrievers import QueryFusionRetriever
    from llama_index.core.retrievers.fusion_retriever import FUSION_MODES

    from llama_index_limiar import LimiarEmbedding

    lexical = _llama_index_bm25_retriever(passages, with_metadata=with_metadata)
    nodes = _nodes(passages, with_metadata=with_metadata)
    index = VectorStoreIndex(nodes, embed_model=LimiarEmbedding(encoder=passages.encoder))
    fusion = QueryFusionRetriever(
        [lexical, index.as_retriever(similarity_top_k=passages.depth)],
        llm=MockLLM(),
        mode=FUSION_MODES.RECIPROCAL_RANK,
        similarity_top_k=passages.depth,
        num_queries=1,
        use_async=False,
    )
    return lambda question: [found.node.node_id for found in fusion.retrieve(question)]


LANGCHAIN, LLAMA_INDEX = "langchain-community langchain-classic rank-bm25", "llama-index-retrievers-bm25"
PEERS = (
    Peer("LangChain BM25Retriever", LANGCHAIN, langchain_bm25),
    Peer("... with limiar's Analyzer", LANGCHAIN, partial(langchain_bm25, portuguese=True)),
    Peer("LangChain EnsembleRetriever, id_key", LANGCHAIN, langchain_ensemble),
    Peer("... at its defaults", LANGCHAIN, partial(langchain_ensemble, id_key=None)),
    Peer('LlamaIndex BM25Retriever, "pt"', LLAMA_INDEX, llama_index_bm25),
    Peer("LlamaIndex QueryFusionRetriever, ids in metadata", LLAMA_INDEX, llama_index_fusion),
    Peer("... without metadata", LLAMA_INDEX, partial(llama_index_fusion, with_metadata=False)),
)


def langchain_rebuild(texts: list[str]) -> Callable[[], object]:
    """What makes one more document findable in LangChain's `BM25Retriever`: another one, of all documents."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from langchain_community.retrievers import BM25Retriever
    from langchain_core.documents import Document

    documents = [Document(text) for text in texts]
    return lambda: BM25Retriever.from_documents(documents)


def llama_index_rebuild(texts: list[str]) -> Callable[[], object]:
    """The same for LlamaIndex's `BM25Retriever`."""
    import Stemmer
    from llama_index.core.schema import TextNode
    from llama_index.retrievers.bm25 import BM25Retriever

    nodes = [TextNode(text=text) for text in texts]
    return lambda: BM25Retriever.from_defaults(nodes=nodes, stemmer=Stemmer.Stemmer("portuguese"), language="pt")


def _langchain_bm25_retriever(passages: Passages, *, portuguese: bool = False):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from langchain_community.retrievers import BM25Retriever
    from langchain_core.documents import Document

    documents = [Document(text, id=identity, metadata={ID_KEY: identity}) for identity, text in passages.texts.items()]
    analysis = {"preprocess_func": Analyzer("pt")} if portuguese else {}
    return BM25Retriever.from_documents(documents, k=passages.depth, **analysis)


def _llama_index_bm25_retriever(passages: Passages, *, with_metadata: bool = True):
    import Stemmer
    from llama_index.retrievers.bm25 import BM25Retriever

    return BM25Retriever.from_defaults(
        nodes=_nodes(passages, with_metadata=with_metadata),
        stemmer=Stemmer.Stemmer("portuguese"),
        language="pt",
        similarity_top_k=passages.depth,
    )


def _nodes(passages: Passages, *, with_metadata: bool):
    """Nodes whose metadata are neither embedded nor searched."""
    from llama_index.core.schema import TextNode

    return [
        TextNode(
            id_=identity,
            text=text,
            metadata={ID_KEY: identity} if with_metadata else {},
            excluded_embed_metadata_keys=[ID_KEY],
        )
        for identity, text in passages.texts.items()
    ]
