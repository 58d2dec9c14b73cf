"""limiar: RAG chains that answer from relevant passages only.

Importing this package loads no framework, no torch and no model: names are resolved at their first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limiar.embeddings.bundled import BundledEncoder
    from limiar.embeddings.cost import Estimate
    from limiar.embeddings.huggingface import HuggingFaceEncoder
    from limiar.embeddings.openai_api import OpenAIEncoder
    from limiar.embeddings.protocol import Encoder
    from limiar.errors import (
        ArmError,
        ChatError,
        ConfigurationError,
        EncoderError,
        ExpansionError,
        ExpansionParseError,
        ExpansionStoreError,
        InputError,
        InputTypeError,
        LimiarError,
        MissingExtraError,
        ModelDamagedError,
        ModelError,
        ModelNotFoundError,
        NothingRelevantError,
        ScoringError,
        StoreDamagedError,
        StoreError,
        StoreLockedError,
        StoreNotFoundError,
        StoreUnreachableError,
        StoreVersionError,
        StoreWriteError,
        VectorCacheError,
    )
    from limiar.keywords.chat import ChatAnswer, ChatModel, FunctionChat
    from limiar.keywords.entries import Outcome, Recipe
    from limiar.keywords.expansion import Expansion, Keyword
    from limiar.keywords.generate import Expander
    from limiar.keywords.indexing import IndexTexts, apply_expansions
    from limiar.keywords.offline import OfflineGenerator
    from limiar.keywords.offline_run import OfflineExpander
    from limiar.keywords.openai_chat import OpenAIChat
    from limiar.keywords.prompts import ExpansionPrompt
    from limiar.keywords.query_expansion import QueryExpander, QueryVariants
    from limiar.keywords.report import ExpansionEstimate, ExpansionReport, Prices
    from limiar.keywords.store import ExpansionStore
    from limiar.rerank import Reranker, RerankResult, ScoredDocument
    from limiar.retrieval.bm25 import BM25Index
    from limiar.retrieval.document_store import StoredDocument
    from limiar.retrieval.documents import Hit, IndexDocument
    from limiar.retrieval.fusion import Arm, ArmHit, FusedHit, fuse
    from limiar.retrieval.hybrid_index import HybridIndex
    from limiar.retrieval.index_health import ArmHealth, IndexHealth
    from limiar.retrieval.index_results import AddReport, HybridHit, HybridResult, HybridStats
    from limiar.retrieval.okapi import OkapiBM25
    from limiar.scoring.cross_encoder import CrossEncoderScorer
    from limiar.scoring.late_interaction import LateInteractionScorer
    from limiar.scoring.protocol import Scorer, Scores
    from limiar.selection import Selection, SelectionPolicy, select
    from limiar.service import RerankerService, get_relevant_docs, reranker_service
    from limiar.text.analyzer import Analyzer

__version__ = "0.1.0"

__all__ = [
    "AddReport",
    "Analyzer",
    "Arm",
    "ArmError",
    "ArmHealth",
    "ArmHit",
    "BM25Index",
    "BundledEncoder",
    "ChatAnswer",
    "ChatError",
    "ChatModel",
    "ConfigurationError",
    "CrossEncoderScorer",
    "Encoder",
    "EncoderError",
    "Estimate",
    "Expander",
    "Expansion",
    "ExpansionError",
    "ExpansionEstimate",
    "ExpansionParseError",
    "ExpansionPrompt",
    "ExpansionReport",
    "ExpansionStore",
    "ExpansionStoreError",
    "FunctionChat",
    "FusedHit",
    "Hit",
    "HuggingFaceEncoder",
    "HybridHit",
    "HybridIndex",
    "HybridResult",
    "HybridStats",
    "IndexDocument",
    "IndexHealth",
    "IndexTexts",
    "InputError",
    "InputTypeError",
    "Keyword",
    "LateInteractionScorer",
    "LimiarError",
    "MissingExtraError",
    "ModelDamagedError",
    "ModelError",
    "ModelNotFoundError",
    "NothingRelevantError",
    "OfflineExpander",
    "OfflineGenerator",
    "OkapiBM25",
    "OpenAIChat",
    "OpenAIEncoder",
    "Outcome",
    "Prices",
    "QueryExpander",
    "QueryVariants",
    "Recipe",
    "RerankResult",
    "Reranker",
    "RerankerService",
    "ScoredDocument",
    "Scorer",
    "Scores",
    "ScoringError",
    "Selection",
    "SelectionPolicy",
    "StoreDamagedError",
    "StoreError",
    "StoreLockedError",
    "StoreNotFoundError",
    "StoreUnreachableError",
    "StoreVersionError",
    "StoreWriteError",
    "StoredDocument",
    "VectorCacheError",
    "__version__",
    "apply_expansions",
    "fuse",
    "get_relevant_docs",
    "reranker_service",
    "select",
]

_HOMES = {
    "limiar.embeddings.bundled": ["BundledEncoder"],
    "limiar.embeddings.cost": ["Estimate"],
    "limiar.embeddings.huggingface": ["HuggingFaceEncoder"],
    "limiar.embeddings.openai_api": ["OpenAIEncoder"],
    "limiar.embeddings.protocol": ["Encoder"],
    "limiar.errors": [
        "ArmError",
        "ChatError",
        "ConfigurationError",
        "EncoderError",
        "ExpansionError",
        "ExpansionParseError",
        "ExpansionStoreError",
        "InputError",
        "InputTypeError",
        "LimiarError",
        "MissingExtraError",
        "ModelDamagedError",
        "ModelError",
        "ModelNotFoundError",
        "NothingRelevantError",
        "ScoringError",
        "StoreDamagedError",
        "StoreError",
        "StoreLockedError",
        "StoreNotFoundError",
        "StoreUnreachableError",
        "StoreVersionError",
        "StoreWriteError",
        "VectorCacheError",
    ],
    "limiar.keywords.chat": ["ChatAnswer", "ChatModel", "FunctionChat"],
    "limiar.keywords.entries": ["Outcome", "Recipe"],
    "limiar.keywords.expansion": ["Expansion", "Keyword"],
    "limiar.keywords.generate": ["Expander"],
    "limiar.keywords.indexing": ["IndexTexts", "apply_expansions"],
    "limiar.keywords.offline": ["OfflineGenerator"],
    "limiar.keywords.offline_run": ["OfflineExpander"],
    "limiar.keywords.openai_chat": ["OpenAIChat"],
    "limiar.keywords.prompts": ["ExpansionPrompt"],
    "limiar.keywords.query_expansion": ["QueryExpander", "QueryVariants"],
    "limiar.keywords.report": ["ExpansionEstimate", "ExpansionReport", "Prices"],
    "limiar.keywords.store": ["ExpansionStore"],
    "limiar.rerank": ["RerankResult", "Reranker", "ScoredDocument"],
    "limiar.retrieval.bm25": ["BM25Index"],
    "limiar.retrieval.document_store": ["StoredDocument"],
    "limiar.retrieval.documents": ["Hit", "IndexDocument"],
    "limiar.retrieval.fusion": ["Arm", "ArmHit", "FusedHit", "fuse"],
    "limiar.retrieval.hybrid_index": ["HybridIndex"],
    "limiar.retrieval.index_health": ["ArmHealth", "IndexHealth"],
    "limiar.retrieval.index_results": ["AddReport", "HybridHit", "HybridResult", "HybridStats"],
    "limiar.retrieval.okapi": ["OkapiBM25"],
    "limiar.scoring.cross_encoder": ["CrossEncoderScorer"],
    "limiar.scoring.late_interaction": ["LateInteractionScorer"],
    "limiar.scoring.protocol": ["Scorer", "Scores"],
    "limiar.selection": ["Selection", "SelectionPolicy", "select"],
    "limiar.service": ["RerankerService", "get_relevant_docs", "reranker_service"],
    "limiar.text.analyzer": ["Analyzer"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        msg = f"module 'limiar' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
