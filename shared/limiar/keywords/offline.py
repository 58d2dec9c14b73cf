"""Key phrases and related words without an LLM: from the corpus's own statistics and an encoder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from limiar.embeddings.protocol import Encoder, Progress
from limiar.embeddings.resolve import choose_encoder
from limiar.errors import ConfigurationError, EncoderError, InputTypeError
from limiar.inputs import check_texts
from limiar.keywords.offline_corpus import CorpusWords, Word, head_of, words_of
from limiar.keywords.offline_phrases import phrases, stems_of
from limiar.keywords.offline_vectors import FloatArray, Places, best, directions, nearest_words
from limiar.retrieval.checks import check_count
from limiar.text.analyzer import Analyzer

if TYPE_CHECKING:
    from typing_extensions import Self

Keywords = list[tuple[str, list[str]]]

_NEIGHBOURS = 40
_CORPUS_PER_NEIGHBOURHOOD = 4
_SHARE_OF_ITS_OWN = 0.05
_LEAST_TEXTS = 2
_WORDS_EMBEDDED = 30_000
_RELATED_AT_MOST = 8
_TEXTS_PER_ROUND = 512


@dataclass(frozen=True)
class _Learned:
    """A corpus. `vectors` has a row for each kept text, `stems` the numbers of its stems, `rows` its place by key."""

    words: CorpusWords
    surfaces: dict[str, str]
    numbers: dict[str, int]
    rows: dict[bytes, int]
    stems: list[npt.NDArray[np.int32]]
    vectors: FloatArray
    centre: FloatArray
    related: dict[str, list[str]]


class OfflineGenerator:
    """Key phrases and related words from statistics and an encoder. It is no LLM: it knows no word the corpus has not.

    A word is a key word of a text if it is rare in the corpus and yet common in the texts nearest to this one by the
    encoder's vectors, 40 of them or a quarter of a small corpus: `rarity**2 * (0.05 + share of them that hold it)`. Key
    words side by side, or with one stop word between them, are joined into a phrase (as in TextRank: Mihalcea and
    Tarau, EMNLP 2004). Related words of a phrase are those of the corpus whose own vectors are nearest to its words':
    other forms and derivations more often than true synonyms. `benchmarks/expansion.py` measures what it brings.

    `fit` reads a text's first 100,000 characters, counts at most 500,000 stems and as many forms, and keeps a uniform
    sample of at most 50,000 texts: of each a vector, 512 stems and 2,000 characters at most, which are what the encoder
    reads. Beside the encoder that is about 300 MB for 50,000 short texts and 1 GB at worst; the rest of a larger corpus
    only counts. Equal calls give equal results. After `fit`, threads may share it.

    Args:
        language: of the texts, "pt" or "en".
        terms: at most so many key words for each text, before neighbouring ones are joined.
        related: at most so many related words for each phrase, 0 to 8.
        encoder: for texts and single words; the bundled one by default. Related words are those of a cosine of 0.6 or
            more around the mean of all words, a bound that suits the bundled one.

    Raises:
        ConfigurationError: the language is not supported, a number is out of range or `encoder` is none.

    Example:
        >>> statements = ["O atraso da obra gera multa.", "Multa pelo atraso da obra.", "Obra em atraso: multa diária."]
        >>> generator = OfflineGenerator(terms=3, related=0).fit(statements)
        >>> generator.generate("A multa contratual pelo atraso da obra não se confunde com a indenização.")
        [('multa', []), ('atraso da obra', [])]
    """

    def __init__(
        self, *, language: str = "pt", terms: int = 8, related: int = 2, encoder: Encoder | None = None
    ) -> None:
        self._analyzer = Analyzer(language)
        self._terms = check_count("terms", terms)
        if isinstance(related, bool) or not isinstance(related, int) or not 0 <= related <= _RELATED_AT_MOST:
            msg = f"related={related!r}; expected a whole number from 0 to {_RELATED_AT_MOST}"
            raise ConfigurationError(msg)
        self._related = related
        self._encoder = choose_encoder(None, encoder)
        self._learned: _Learned | None = None

    @property
    def model_id(self) -> str:
        """The method's version and parameters; what it generates depends on the corpus as well."""
        return f"limiar-offline-1-{self._analyzer.language}-{self._terms}-{self._related}"

    @property
    def fitted(self) -> bool:
        """Whether it knows a corpus."""
        return self._learned is not None

    def fit(self, texts: Iterable[str], *, progress: Progress | None = None) -> Self:
        """Learn a corpus, in place of what was learned before.

        Args:
            texts: read once.
            progress: called with (done, total) of the texts and single words that the encoder reads.

        Raises:
            InputTypeError: `texts` is a single string, or a member is not a string.
        """
        words = CorpusWords(self._analyzer)
        for text in _each(texts):
            words.add(text)
        kept = {_key(text.head): text for text in words.take_kept()}
        surfaces = words.surfaces()
        numbers = {stem: number for number, stem in enumerate(surfaces)}
        common = words.common(_LEAST_TEXTS, _WORDS_EMBEDDED) if self._related else []
        common = [stem for stem in common if stem in surfaces]
        heads = [text.head for text in kept.values()]
        vectors = self._embed([*heads, *(surfaces[stem] for stem in common)], progress)
        of_texts, of_words = vectors[: len(heads)], vectors[len(heads) :]
        centre = of_texts.mean(axis=0) if heads else np.zeros(vectors.shape[1], np.float32)
        self._learned = _Learned(
            words,
            surfaces,
            numbers,
            {key: row for row, key in enumerate(kept)},
            [np.array([numbers[s] for s in text.stems if s in numbers], np.int32) for text in kept.values()],
            directions(of_texts, centre),
            centre,
            nearest_words(common, of_words),
        )
        return self

    def generate(self, text: str) -> Keywords:
        """The key phrases of one text, of the corpus or not: see `generate_all`."""
        return self.generate_all([text])[0]

    def generate_all(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[Keywords]:
        """The key phrases of each text, most important first, each with its related words; all in lower case.

        Args:
            texts: of the corpus or not. One with nothing but stop words, or without words, gets an empty list.
            progress: called with (done, total).

        Raises:
            InputTypeError: `texts` is a single string, or a member is not a string.
            ConfigurationError: `fit` has not been called.
        """
        learned = self._learned
        if learned is None:
            msg = "the offline generator knows no corpus yet; call fit(texts) first"
            raise ConfigurationError(msg)
        checked = check_texts(texts)
        found: list[Keywords] = []
        for start in range(0, len(checked), _TEXTS_PER_ROUND):
            group = checked[start : start + _TEXTS_PER_ROUND]
            for text, neighbours in zip(group, self._neighbours(group, learned), strict=True):
                found.append(self._keywords(words_of(text, self._analyzer), neighbours, learned))
            if progress is not None:
                progress(len(found), len(checked))
        return found

    def _neighbours(self, texts: Sequence[str], learned: _Learned) -> list[Places]:
        """The rows of the kept texts nearest to each text, without the one that begins as it does."""
        heads = [head_of(text) for text in texts]
        row_of = {place: learned.rows[key] for place, key in enumerate(map(_key, heads)) if key in learned.rows}
        seen, rows = list(row_of), list(row_of.values())
        unseen = [place for place in range(len(heads)) if place not in row_of]
        vectors = np.empty((len(heads), len(learned.centre)), np.float32)
        vectors[seen] = learned.vectors[rows]
        vectors[unseen] = directions(self._embed([heads[place] for place in unseen]), learned.centre)
        cosines = vectors @ learned.vectors.T
        cosines[seen, rows] = -np.inf
        count = min(_NEIGHBOURS, math.ceil(len(learned.stems) / _CORPUS_PER_NEIGHBOURHOOD))
        return [best(row, count) for row in cosines]

    def _keywords(self, words: Sequence[Word], neighbours: Places, learned: _Learned) -> Keywords:
        holding = Counter(number for row in neighbours for number in learned.stems[row].tolist())

        def importance(stem: str) -> float:
            share = holding[learned.numbers.get(stem, -1)] / max(len(neighbours), 1)
            return learned.words.rarity(stem) ** 2 * (_SHARE_OF_ITS_OWN + share)

        used = set(stems_of(words))
        chosen = sorted(stems_of(words), key=importance, reverse=True)[: self._terms]
        result: Keywords = []
        for phrase in phrases(words, chosen):
            members = stems_of(phrase)
            near = dict.fromkeys(other for stem in members for other in learned.related.get(stem, ()))
            related = [stem for stem in near if stem not in used][: self._related]
            used.update(related)
            result.append((_written(phrase, learned.surfaces), [learned.surfaces[stem] for stem in related]))
        return result

    def _embed(self, texts: Sequence[str], progress: Progress | None = None) -> FloatArray:
        if not texts:
            return np.empty((0, self._encoder.dimensions), np.float32)
        vectors = np.asarray(self._encoder.embed_documents(texts, progress=progress), np.float32)
        if vectors.shape != (len(texts), self._encoder.dimensions) or not np.isfinite(vectors).all():
            name, shape = self._encoder.model_id, vectors.shape
            msg = f"{name} gave {shape} numbers for {len(texts)} texts; expected a vector of finite numbers for each"
            raise EncoderError(msg)
        return vectors


def _written(phrase: Sequence[Word], surfaces: dict[str, str]) -> str:
    """A phrase as the text has it; a single word in the corpus's commonest form."""
    if len(phrase) > 1:
        return " ".join(word.surface for word in phrase)
    return surfaces.get(phrase[0].stem or "", phrase[0].surface)


def _each(texts: Iterable[str]) -> Iterator[str]:
    """The texts one at a time, each checked."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        msg = f"texts is {type(texts).__name__}; expected strings in a list or another iterable"
        raise InputTypeError(msg)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            msg = f"text {position} is {type(text).__name__}; expected a string"
            raise InputTypeError(msg)
        yield text


def _key(head: str) -> bytes:
    return blake2b(head.encode("utf-8"), digest_size=16).digest()
