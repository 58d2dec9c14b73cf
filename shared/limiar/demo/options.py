"""What the demo can be told; light enough for the command line to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from limiar.errors import ConfigurationError
from limiar.inputs import check_query
from limiar.selection import DEFAULT_THRESHOLD, DEFAULT_TOP_K, FallbackPolicy

DEFAULT_CANDIDATES = 20
DEFAULT_LLM = "gpt-4o-mini"

KeywordsChoice = Literal["offline", "none"]
KEYWORDS_CHOICES: tuple[str, ...] = get_args(KeywordsChoice)

FIRST_STAGE_TOP = 5
"""How many passages a chain without limiar is taken to put in its prompt."""


@dataclass(frozen=True)
class DemoOptions:
    """What the command line says.

    Attributes:
        question: answer this one and stop.
        whole_set: run the judged set although a person sits at the terminal.
        limit: so many questions of the set, spread evenly over it.
        json_path: where the measurements go.
        db: the folder of the index; None for one that is removed at the end.
        model: a Hugging Face cross-encoder; None for the bundled scorer.
        threshold, top_k, fallback: as `Reranker`.
        keywords: who writes words for the passages: "offline", statistics and the encoder, or "none".
        candidates: passages from the first stage for each question.
        llm_base_url, llm_model: an OpenAI-compatible server.
        no_color: no colours, whatever the terminal can do.

    Raises:
        ConfigurationError: a value is out of range, or two contradict each other.
    """

    question: str | None = None
    whole_set: bool = False
    limit: int | None = None
    json_path: Path | None = None
    db: Path | None = None
    model: str | None = None
    threshold: float = DEFAULT_THRESHOLD
    top_k: int = DEFAULT_TOP_K
    fallback: FallbackPolicy = "top1"
    keywords: KeywordsChoice = "offline"
    candidates: int = DEFAULT_CANDIDATES
    llm_base_url: str | None = None
    llm_model: str | None = None
    no_color: bool = False

    def __post_init__(self) -> None:
        if self.candidates < FIRST_STAGE_TOP:
            msg = f"--candidates {self.candidates}; expected at least {FIRST_STAGE_TOP}"
            raise ConfigurationError(msg)
        if self.limit is not None and self.limit < 1:
            msg = f"--limit {self.limit}; expected at least 1"
            raise ConfigurationError(msg)
        if self.question is not None:
            check_query(self.question)
            if self.wants_set:
                msg = "--question answers one question; --all, --limit and --json are for the judged set"
                raise ConfigurationError(msg)
        if self.json_path is not None and (self.json_path.is_dir() or not self.json_path.absolute().parent.is_dir()):
            msg = f"--json {self.json_path}; expected a file in a folder that exists"
            raise ConfigurationError(msg)

    @property
    def wants_set(self) -> bool:
        return self.whole_set or self.limit is not None or self.json_path is not None
