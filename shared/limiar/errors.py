"""Every error that limiar raises on purpose.

LimiarError
├── ConfigurationError (ValueError)     a parameter is out of range, unknown or contradictory
├── InputError (ValueError)             a query or a document cannot be used
│   └── InputTypeError (TypeError)      ... because it is not text
├── MissingExtraError (ImportError)     an optional dependency is not installed
├── ModelError
│   ├── ModelNotFoundError              no such model, or its hub cannot be reached
│   └── ModelDamagedError               the model's files cannot be read
├── EncoderError (RuntimeError)         an encoder failed, or returned something that is not a vector for each text
│   └── VectorCacheError                ... because its cache on disk cannot be used
├── ExpansionError                      documents could not be expanded by a language model
│   ├── ChatError (RuntimeError)        a chat model gave no answer
│   ├── ExpansionParseError             its answer cannot be used
│   └── ExpansionStoreError             the store of expansions cannot be used
├── StoreError                          an index on disk cannot be used, or is closed
│   ├── StoreNotFoundError              there is none in the folder
│   ├── StoreLockedError                another writer has it open
│   ├── StoreWriteError                 it cannot be written: read-only, or the disk is full
│   ├── StoreDamagedError               its files cannot be read
│   ├── StoreVersionError               another version of limiar or of the engine wrote it
│   └── StoreUnreachableError           the server that holds a part of it does not answer
├── ArmError (RuntimeError)             an arm of a hybrid retrieval failed or was late
├── ScoringError (RuntimeError)         a scorer failed, or returned something that is not a score for each text
└── NothingRelevantError                nothing passed the threshold and fallback="raise"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal


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


class EncoderError(LimiarError, RuntimeError):
    """An encoder failed, or returned something that is not one usable vector for each text."""


class VectorCacheError(EncoderError):
    """An encoder's cache on disk cannot be opened, read or written."""


class ExpansionError(LimiarError):
    """Documents could not be expanded by a language model."""


class ChatError(ExpansionError, RuntimeError):
    """A chat model gave no answer.

    `kind` says what that means for what comes next. "passing": the same call may succeed later, after `wait` seconds
    if the server says so. "document": this document is refused. "too_long": it does not fit the model. "fatal": no
    other call will succeed either.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: Literal["passing", "document", "too_long", "fatal"] = "document",
        wait: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.wait = wait


class ExpansionParseError(ExpansionError, ValueError):
    """A chat model's answer cannot be used.

    `reason` is one word: "empty", "refusal", "form", "missing", "language" or "unrelated". `answer` is the raw text,
    which is not in the message; `partial` is what could be read of it, an `Expansion` or None.
    """

    def __init__(self, message: str, *, reason: str, answer: str, partial: object = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.answer = answer
        self.partial = partial


class ExpansionStoreError(ExpansionError):
    """The store of expansions cannot be opened, read or written; what it held before is kept."""


class StoreError(LimiarError):
    """An index on disk cannot be used, or is closed."""


class StoreNotFoundError(StoreError):
    """There is no index in the folder."""


class StoreLockedError(StoreError):
    """Another writer has the index open."""


class StoreWriteError(StoreError):
    """The index cannot be written; what was committed before is kept."""


class StoreDamagedError(StoreError):
    """The index's files cannot be read."""


class StoreVersionError(StoreError):
    """Another version of limiar or of the engine wrote the index."""


class StoreUnreachableError(StoreError):
    """The server that holds a part of the index does not answer."""


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
