"""Which collections a calibration is fitted on, and how each counts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from limiar.errors import ConfigurationError

DEFAULT_RECIPE = Path(__file__).resolve().parent / "recipe.json"


@dataclass(frozen=True)
class CollectionRecipe:
    """One collection.

    Attributes:
        name: its folder.
        language: of its BM25 first stage.
        splits: the judgments used.
        pool: so many BM25 candidates a question.
        relevant_from: the lowest grade that counts as relevant in the probability.
        judged_only: unjudged passages are left out of the fit (they are not known to be irrelevant).
        weight: what the collection counts, as a whole, in both fits.
    """

    name: str
    language: str
    splits: tuple[str, ...]
    pool: int
    relevant_from: int
    judged_only: bool
    weight: float


@dataclass(frozen=True)
class Recipe:
    """The whole recipe; `foreign_questions` of each split are also asked of every other collection."""

    seed: int
    folds: int
    centre_sample: int
    foreign_questions: int
    collections: tuple[CollectionRecipe, ...]


def load_recipe(path: Path = DEFAULT_RECIPE) -> Recipe:
    """Read a recipe.

    Raises:
        ConfigurationError: the file is missing, not JSON, or has other keys than a recipe.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        collections = tuple(
            CollectionRecipe(**{**entry, "splits": tuple(entry["splits"])}) for entry in raw.pop("collections")
        )
        return Recipe(collections=collections, **raw)
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path} is not a readable recipe ({type(error).__name__}: {error}); see {DEFAULT_RECIPE}"
        raise ConfigurationError(msg) from error
