"""Every error that limiar raises on purpose.

LimiarError
├── ConfigurationError (ValueError)     a parameter is out of range, unknown or contradictory
├── InputError (ValueError)             a query or a document cannot be used
│   └── InputTypeError (TypeError)      ... because it is not text
├── MissingExtraError (ImportError)     an optional dependency is not installed
├── ModelError
│   ├── ModelNotFoundError              no such model, or its hub cannot be reached
│   └── ModelDamagedError               the model's files cannot be read
├── ArmError (RuntimeError)             an arm of a hybrid retrieval failed or was late
├── ScoringError (RuntimeError)         a scorer failed, or returned something that is not a score for each text
└── NothingRelevantError                nothing passed the threshold and fallback="raise"
"""

from __future__ import annotations

from collections.abc import Sequence


class LimiarError(Exception):
    """Base of every error that limiar raises on purpose."""


class ConfigurationError(LimiarError, ValueError):
    """A parameter is out of range, unknown or contradictory."""


class InputError(LimiarError, ValueError):
    """A query or a document cannot be used."""


class InputTypeError(InputError, TypeError):
    """A query or a document is not text."""


class MissingExtraError(LimiarError, ImportError):
    """An optional dependency is not installed. `extra` is the name to install it by."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional dependency: pip install 'limiar[{extra}]'")
        self.extra = extra


class ModelError(LimiarError):
    """A model cannot be used."""


class ModelNotFoundError(ModelError):
    """No such model, or its hub cannot be reached."""


class ModelDamagedError(ModelError):
    """The model's files cannot be read."""


class ScoringError(LimiarError, RuntimeError):
    """A scorer failed, or returned something that is not one score for each text."""


class ArmError(LimiarError, RuntimeError):
    """An arm of a hybrid retrieval failed or was late. `arms` names those that did; the cause is the first one's."""

    def __init__(self, message: str, arms: Sequence[str]) -> None:
        super().__init__(message)
        self.arms = tuple(arms)


class NothingRelevantError(LimiarError):
    """Nothing passed the threshold and fallback="raise". `best_score` is the best score seen, in [0, 1]."""

    def __init__(self, threshold: float, best_score: float, count: int) -> None:
        super().__init__(
            f"none of {count} documents reaches threshold={threshold} (the best scores {best_score:.3f}); "
            "lower the threshold or choose fallback='top1', 'empty' or 'original'"
        )
        self.best_score = best_score
