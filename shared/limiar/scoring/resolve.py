"""From what a caller names to a scorer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from limiar.errors import ConfigurationError
from limiar.scoring.protocol import Scorer

if TYPE_CHECKING:
    from limiar.scoring.late_interaction import LateInteractionScorer

_SCALES = ("logit", "probability")

_lock = threading.Lock()
_bundled: LateInteractionScorer | None = None


def bundled_scorer() -> LateInteractionScorer:
    """The process-wide bundled scorer: one model in memory and one passage cache, however many chains use it."""
    global _bundled  # noqa: PLW0603
    from limiar.scoring.late_interaction import LateInteractionScorer

    with _lock:
        if _bundled is None:
            _bundled = LateInteractionScorer()
        return _bundled


def resolve_scorer(scorer: Scorer | str | None, *, device: str | None = None) -> Scorer:
    """A scorer for what the caller named.

    Args:
        scorer: None for the bundled scorer; a string for a Hugging Face cross-encoder by id or local path; or any
            object with `model_id`, `scale` and `score(query, texts)`.
        device: "cpu", "cuda", "cuda:0" ... for a named cross-encoder; None lets torch choose.

    Raises:
        ConfigurationError: it is none of these.
    """
    if device is not None and not isinstance(scorer, str):
        msg = f"device={device!r} is for a named Hugging Face model; none is named, so leave it out"
        raise ConfigurationError(msg)
    if scorer is None:
        return bundled_scorer()
    if isinstance(scorer, str):
        from limiar.scoring.cross_encoder import CrossEncoderScorer

        return CrossEncoderScorer(scorer, device=device)
    shaped = callable(getattr(scorer, "score", None)) and isinstance(getattr(scorer, "model_id", None), str)
    if isinstance(scorer, type) or not shaped:
        msg = (
            f"scorer is {type(scorer).__name__}; expected a model name, or an object with model_id, scale and "
            "score(query, texts)"
        )
        raise ConfigurationError(msg)
    if getattr(scorer, "scale", None) not in _SCALES:
        msg = f"scorer {scorer.model_id!r} has scale={getattr(scorer, 'scale', None)!r}; expected one of: " + ", ".join(
            _SCALES
        )
        raise ConfigurationError(msg)
    return scorer


def choose_scorer(model: str | None, scorer: Scorer | None, *, device: str | None = None) -> Scorer:
    """The scorer for an adapter's two fields, of which at most one is given.

    Raises:
        ConfigurationError: both are given, or `resolve_scorer` refuses the one.
    """
    if model is not None and scorer is not None:
        msg = f"model={model!r} and scorer={type(scorer).__name__} are both given; expected one of them"
        raise ConfigurationError(msg)
    return resolve_scorer(scorer if model is None else model, device=device)
