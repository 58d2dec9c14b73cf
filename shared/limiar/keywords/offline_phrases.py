"""Key words that stand together in a text, joined into phrases."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from limiar.keywords.offline_corpus import Word

_WORDS_IN_A_PHRASE = 3


def phrases(words: Sequence[Word], chosen: Sequence[str]) -> list[list[Word]]:
    """The chosen stems in their order, each with those that it forms a phrase with; every stem once.

    Args:
        words: the text.
        chosen: stems of the text, most important first.

    Returns:
        Phrases as they stand in the text, stop words inside included; a stem in none of them as its first word there.
    """
    left = set(chosen)
    runs = list(_runs(words, left))
    found: list[list[Word]] = []
    for stem in chosen:
        if stem not in left:
            continue
        whole = next(run for run in runs if stem in stems_of(run) and (len(run) == 1 or left.issuperset(stems_of(run))))
        left.difference_update(stems_of(whole))
        found.append(whole)
    return found


def stems_of(run: Sequence[Word]) -> list[str]:
    """The distinct stems of a phrase, in order."""
    return list(dict.fromkeys(word.stem for word in run if word.stem is not None))


def _runs(words: Sequence[Word], chosen: Container[str | None]) -> Iterator[list[Word]]:
    """Stretches of two or three chosen words with at most one stop word between two; then every chosen word alone."""
    run: list[Word] = []
    for word in [*words, Word("", "", joined=False)]:
        stems = stems_of(run)
        between = 1 if run and run[-1].stem is None else 0
        fits = word.stem in chosen and word.stem not in stems if word.stem is not None else not between
        if run and fits and word.joined and len(stems) < _WORDS_IN_A_PHRASE:
            run.append(word)
            continue
        if len(stems) > 1:
            yield run[: len(run) - between]
        run = [word] if word.stem in chosen else []
    yield from ([word] for word in words if word.stem in chosen)
