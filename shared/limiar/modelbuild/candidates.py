"""The scored (question, passage) pairs that a calibration is fitted and measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from limiar.embeddings.bundled import BundledEncoder
from limiar.errors import MissingExtraError
from limiar.evaluation.dataset import Collection, Question, load_collection
from limiar.modelbuild.recipe import CollectionRecipe, Recipe
from limiar.scoring.late_interaction import LateInteractionScorer
from limiar.text.analyzer import Analyzer

_EXTRA_DENSE = 10
_FOREIGN_EACH = 5
UNJUDGED = -1

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Candidates:
    """What one question was given.

    Attributes:
        collection: where the question comes from.
        split: of its judgments.
        question: the question.
        foreign: the name of the other collection it was asked of, or "" for its own.
        passages: positions in the corpus.
        grades: int (n,): the judgment, `UNJUDGED` where there is none and the collection is `judged_only`, else 0.
        bm25: float (n,): the first stage's score.
        in_pool: bool (n,): among the first stage's hits (the others are dense hits and relevant passages it missed).
        features: float (n, 3): the scorer's features.
    """

    collection: CollectionRecipe
    split: str
    question: Question
    foreign: str
    passages: npt.NDArray[np.int64]
    grades: npt.NDArray[np.int64]
    bm25: npt.NDArray[np.float64]
    in_pool: npt.NDArray[np.bool_]
    features: npt.NDArray[np.float64]

    @property
    def relevant(self) -> npt.NDArray[np.bool_]:
        return self.grades >= self.collection.relevant_from

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Pairs whose relevance is known."""
        return (self.grades != UNJUDGED) if not self.foreign else np.ones(len(self.grades), bool)


class FirstStages:
    """BM25 and dense search over one corpus, in memory."""

    def __init__(self, collection: Collection, language: str, encoder: BundledEncoder) -> None:
        try:
            import bm25s
        except ImportError as error:
            feature = "calibration"
            raise MissingExtraError(feature, "model") from error

        self.texts = [passage.full_text for passage in collection.passages]
        self.encoder = encoder
        self.vectors = encoder.embed_documents(self.texts)
        self._analyze = Analyzer(language)
        self._bm25 = bm25s.BM25(k1=1.5, b=0.75)
        self._bm25.index([self._analyze(text) for text in self.texts], show_progress=False)

    def bm25(self, question: str) -> npt.NDArray[np.float64]:
        """The BM25 score of every passage (Lucene's formula, k1 1.5, b 0.75)."""
        terms = self._analyze(question)
        if not terms:
            return np.zeros(len(self.texts))
        return np.asarray(self._bm25.get_scores(terms), float)

    def dense(self, question: str, k: int) -> npt.NDArray[np.int64]:
        """The `k` passages nearest in the pooled vectors."""
        return np.argsort(-(self.vectors @ self.encoder.embed_query(question)), kind="stable")[:k]


def gather(
    data: Path, recipe: Recipe, scorer: LateInteractionScorer, progress: Progress | None = None
) -> list[Candidates]:
    """All candidates of a recipe: each question of its own collection, some also of the others.

    Args:
        data: the folder that holds the collections' folders.
        recipe: which ones, and how.
        scorer: gives the features.
        progress: called with (what, done, total).

    Raises:
        InputError: a collection is missing or unreadable.
    """
    stages: dict[str, FirstStages] = {}
    loaded: list[tuple[CollectionRecipe, str, Collection]] = []
    for entry in recipe.collections:
        for split in entry.splits:
            collection = load_collection(data / entry.name, split)
            loaded.append((entry, split, collection))
            if entry.name not in stages:
                stages[entry.name] = FirstStages(collection, entry.language, scorer.encoder)
    gathered: list[Candidates] = []
    for entry, split, collection in loaded:
        for number, question in enumerate(collection.questions):
            gathered.append(_own(entry, split, collection, question, stages[entry.name], scorer))
            if number < recipe.foreign_questions:
                gathered.extend(
                    _foreign(entry, split, question, name, stage, scorer)
                    for name, stage in stages.items()
                    if name != entry.name
                )
            if progress is not None:
                progress(f"{entry.name} {split}", number + 1, len(collection.questions))
    return gathered


def _own(
    entry: CollectionRecipe, split: str, collection: Collection, question: Question, stage: FirstStages,
    scorer: LateInteractionScorer,
) -> Candidates:  # fmt: skip
    grades = collection.qrels[question.id]
    scores = stage.bm25(question.text)
    pool = np.argsort(-scores, kind="stable")[: entry.pool]
    judged = [place for place, passage in enumerate(collection.passages) if passage.id in grades]
    chosen = _distinct([*pool, *stage.dense(question.text, _EXTRA_DENSE), *judged])
    missing = UNJUDGED if entry.judged_only else 0
    return Candidates(
        entry, split, question, "", chosen,
        np.array([grades.get(collection.passages[place].id, missing) for place in chosen]),
        scores[chosen], np.isin(chosen, pool),
        scorer.features(question.text, [stage.texts[place] for place in chosen]),
    )  # fmt: skip


def _foreign(
    entry: CollectionRecipe, split: str, question: Question, name: str, stage: FirstStages,
    scorer: LateInteractionScorer,
) -> Candidates:  # fmt: skip
    scores = stage.bm25(question.text)
    best = np.argsort(-scores, kind="stable")[:_FOREIGN_EACH]
    chosen = _distinct([*best, *stage.dense(question.text, _FOREIGN_EACH)])
    nothing = np.zeros(len(chosen), int)
    features = scorer.features(question.text, [stage.texts[place] for place in chosen])
    return Candidates(entry, split, question, name, chosen, nothing, scores[chosen], nothing.astype(bool), features)


def _distinct(places: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.array(list(dict.fromkeys(map(int, places))), dtype=np.int64)
