"""The generated fields of texts, from a language model or from statistics: what document transformers stand on."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from limiar.errors import ConfigurationError
from limiar.inputs import check_texts
from limiar.keywords.entries import text_key
from limiar.keywords.expansion import Expansion, Keyword
from limiar.keywords.generate import Expander
from limiar.keywords.offline import OfflineGenerator

logger = logging.getLogger("limiar")


def check_source(source: object) -> None:
    """Raise `ConfigurationError` unless `source` can expand texts."""
    if not isinstance(source, Expander | OfflineGenerator):
        msg = f"expander is {type(source).__name__}; expected a limiar.Expander or a limiar.OfflineGenerator"
        raise ConfigurationError(msg)


def recipe_of(source: Expander | OfflineGenerator) -> str:
    """What tells its texts from those of another: equal for equal ones. What a generator has learned is no part."""
    if isinstance(source, OfflineGenerator):
        return f"{source.model_id} {json.dumps(source.parameters, sort_keys=True)}"
    return source.recipe.fingerprint


def expanded_fields(source: Expander | OfflineGenerator, texts: Sequence[str]) -> list[dict[str, str]]:
    """For each text, its generated texts by index field, blank ones left out; an empty mapping where there is none.

    How many texts the model gave nothing for is logged as a warning; the store says why.

    Args:
        source: an `Expander`, whose store keeps what it says, or an `OfflineGenerator`; one that knows no corpus learns
            these texts first.
        texts: equal ones are asked about once.

    Raises:
        InputTypeError: not a list of strings.
        ChatError, ExpansionStoreError: as for `Expander.run`.
    """
    check_source(source)
    checked = check_texts(texts)
    if isinstance(source, OfflineGenerator):
        expansions = _offline(source, checked)
    else:
        report = source.run([(text_key(text).hex(), text) for text in checked])
        if without := report.failed + report.unanswered:
            logger.warning("%d of %d texts got no generated words; the store says why", without, len(checked))
        expansions = source.store.usable(source.recipe, checked)
    return [{name: text for name, text in it.fields().items() if text} for it in expansions]


def _offline(source: OfflineGenerator, texts: list[str]) -> list[Expansion]:
    if not source.fitted:
        if not any(text.strip() for text in texts):  # nothing to learn, and what is learned first stays
            return [Expansion()] * len(texts)
        source.fit(texts)
    found = source.generate_all(texts)
    return [Expansion(tuple(Keyword(term, tuple(related)) for term, related in it)) for it in found]
