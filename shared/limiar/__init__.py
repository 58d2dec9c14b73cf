"""limiar: RAG chains that answer from relevant passages only.

Importing this package loads no framework, no torch and no model: names are resolved at their first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limiar.embeddings.bundled import BundledEncoder
    from limiar.errors import (
        ArmError,
        ConfigurationError,
        InputError,
        InputTypeError,
        LimiarError,
        MissingExtraError,
        ModelDamagedError,
        ModelError,
        ModelNotFoundError,
        NothingRelevantError,
        ScoringError,
    )
    from limiar.rerank import Reranker, RerankResult, ScoredDocument
    from limiar.scoring.cross_encoder import CrossEncoderScorer
    from limiar.scoring.late_interaction import LateInteractionScorer
    from limiar.scoring.protocol import Scorer, Scores
    from limiar.selection import Selection, SelectionPolicy, select
    from limiar.service import RerankerService, get_relevant_docs, reranker_service

__version__ = "0.1.0"

__all__ = [
    "ArmError",
    "BundledEncoder",
    "ConfigurationError",
    "CrossEncoderScorer",
    "InputError",
    "InputTypeError",
    "LateInteractionScorer",
    "LimiarError",
    "MissingExtraError",
    "ModelDamagedError",
    "ModelError",
    "ModelNotFoundError",
    "NothingRelevantError",
    "RerankResult",
    "Reranker",
    "RerankerService",
    "ScoredDocument",
    "Scorer",
    "Scores",
    "ScoringError",
    "Selection",
    "SelectionPolicy",
    "__version__",
    "get_relevant_docs",
    "reranker_service",
    "select",
]

_HOMES = {
    "limiar.embeddings.bundled": ["BundledEncoder"],
    "limiar.errors": [
        "ArmError",
        "ConfigurationError",
        "InputError",
        "InputTypeError",
        "LimiarError",
        "MissingExtraError",
        "ModelDamagedError",
        "ModelError",
        "ModelNotFoundError",
        "NothingRelevantError",
        "ScoringError",
    ],
    "limiar.rerank": ["RerankResult", "Reranker", "ScoredDocument"],
    "limiar.scoring.cross_encoder": ["CrossEncoderScorer"],
    "limiar.scoring.late_interaction": ["LateInteractionScorer"],
    "limiar.scoring.protocol": ["Scorer", "Scores"],
    "limiar.selection": ["Selection", "SelectionPolicy", "select"],
    "limiar.service": ["RerankerService", "get_relevant_docs", "reranker_service"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        msg = f"module 'limiar' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
