"""The generator that needs no LLM, over real texts and the bundled encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from limiar.embeddings.bundled import shared_encoder
from limiar.errors import ConfigurationError, EncoderError, InputTypeError
from limiar.keywords import offline, offline_corpus
from limiar.keywords.offline import OfflineGenerator
from limiar.keywords.offline_corpus import CorpusWords, words_of
from limiar.keywords.offline_phrases import phrases
from limiar.keywords.offline_vectors import best, directions, nearest_words
from limiar.text.analyzer import Analyzer

STATEMENTS = [
    "O pregão eletrônico é obrigatório para a contratação de bens comuns, segundo a secretaria.",
    "No pregão eletrônico, o pregoeiro recebe os lances dos licitantes, informa a secretaria.",
    "O edital do pregão eletrônico fixa o prazo dos lances e a forma de habilitação.",
    "O pregoeiro adjudica o objeto do pregão ao licitante vencedor, diz o edital.",
    "A aposentadoria por tempo de contribuição exige certidão do instituto de previdência.",
    "O servidor pede a aposentadoria com a certidão de tempo de contribuição, segundo a secretaria.",
    "Proventos de aposentadoria são revistos quando muda o tempo de contribuição averbado.",
    "A certidão de tempo de contribuição averbada conta para a aposentadoria do servidor.",
    "O cluster de virtualização perde o quórum quando dois servidores físicos desligam.",
    "O quórum do cluster exige maioria dos nós ligados, segundo o manual da secretaria.",
    "Sem quórum, o cluster suspende as máquinas virtuais e o armazenamento.",
    "O armazenamento do cluster guarda as máquinas virtuais em três cópias.",
]


class CountingEncoder:
    """The bundled encoder, telling what it was asked to read."""

    model_id = "counting"
    dimensions = 384

    def __init__(self) -> None:
        self.read: list[str] = []

    def embed_query(self, text: str) -> np.ndarray:
        return shared_encoder().embed_query(text)

    def embed_documents(self, texts: Sequence[str], *, progress=None) -> np.ndarray:
        self.read.extend(texts)
        return shared_encoder().embed_documents(texts, progress=progress)


@pytest.fixture(scope="module")
def generator() -> OfflineGenerator:
    return OfflineGenerator(terms=4).fit(STATEMENTS)


def flat(keywords: offline.Keywords) -> str:
    return " ".join(term for term, _ in keywords)


# What it generates


def test_a_text_it_has_not_seen_gets_the_words_of_its_topic(generator) -> None:
    found = generator.generate("Ontem, segundo a secretaria, houve lances no pregão eletrônico da prefeitura.")
    assert found[0] == ("lances no pregão eletrônico", [])


def test_words_of_the_nearest_texts_outweigh_words_as_rare() -> None:
    """Each of the two words is in four texts; only the nearest texts tell which one this text is about."""
    local = OfflineGenerator(terms=1, related=0).fit(STATEMENTS)
    assert local.generate("A aposentadoria do operador de cluster, por tempo de serviço.") == [("aposentadoria", [])]
    assert local.generate("O cluster caiu sem quórum na aposentadoria do operador.") == [("cluster", [])]


def test_a_text_of_the_corpus_is_no_neighbour_of_its_own() -> None:
    corpus = ["Multa na obra parada.", "Obra com multa.", "Bolo de cenoura.", "Bolo de fubá."]
    assert OfflineGenerator(terms=2).fit(corpus).generate(corpus[0]) == [("multa na obra", [])]


def test_neighbouring_key_words_become_a_phrase_as_the_text_has_it(generator) -> None:
    terms = [term for term, _ in generator.generate(STATEMENTS[7])]
    assert "tempo de contribuição" in " | ".join(terms)


def test_related_words_come_from_the_corpus_and_not_from_the_text() -> None:
    corpus = ["A obra foi paralisada.", "As obras da ponte.", "A obra da escola.", "As obras do porto."]
    corpus += ["Da obra às obras.", *STATEMENTS]
    analyzer = Analyzer()
    vocabulary = {word.stem for text in corpus for word in words_of(text, analyzer)}
    found = 0
    generator = OfflineGenerator(terms=6, related=1).fit(corpus)
    for text in corpus:
        own = {word.stem for word in words_of(text, analyzer)}
        for _, related in generator.generate(text):
            assert len(related) <= 1
            for word in related:
                stem = analyzer(word)[0]
                assert stem in vocabulary - own
                found += 1
    assert found > 0


def test_no_related_words_if_none_are_wanted_and_no_word_is_embedded() -> None:
    encoder = CountingEncoder()
    result = OfflineGenerator(related=0, encoder=encoder).fit(STATEMENTS).generate_all(STATEMENTS)
    assert all(related == [] for keywords in result for _, related in keywords)
    assert sorted(encoder.read) == sorted(STATEMENTS)


def test_a_stem_alone_is_written_in_its_commonest_form() -> None:
    corpus = ["Licitações abertas.", "Licitações encerradas.", "Licitação deserta."]
    assert OfflineGenerator(terms=1).fit(corpus).generate("A licitação") == [("licitações", [])]


def test_english() -> None:
    corpus = ["The cluster lost quorum.", "Quorum needs most nodes of the cluster.", "The invoice is overdue."]
    found = OfflineGenerator(language="en", terms=2).fit(corpus).generate("The cluster has no quorum.")
    assert {word for term, _ in found for word in term.split()} >= {"cluster", "quorum"}


# The same answer every time


def test_one_by_one_in_one_go_and_again_are_the_same(generator) -> None:
    texts = [*STATEMENTS, "Um texto novo sobre o quórum do cluster.", STATEMENTS[0]]
    before = list(texts)
    together = generator.generate_all(texts)
    assert together == [generator.generate(text) for text in texts]
    assert together == OfflineGenerator(terms=4).fit(iter(STATEMENTS)).generate_all(texts)
    assert texts == before


def test_texts_of_the_corpus_are_embedded_once() -> None:
    encoder = CountingEncoder()
    fitted = OfflineGenerator(encoder=encoder).fit(STATEMENTS)
    encoder.read.clear()
    fitted.generate_all([*STATEMENTS, "Novo."])
    assert encoder.read == ["Novo."]


def test_fitting_again_forgets_the_first_corpus() -> None:
    twice = OfflineGenerator(terms=4).fit(["A represa e a barragem.", "A barragem de rejeitos."]).fit(STATEMENTS)
    once = OfflineGenerator(terms=4).fit(STATEMENTS)
    assert twice.generate_all(STATEMENTS) == once.generate_all(STATEMENTS)


# Odd corpora and texts


@pytest.mark.parametrize("text", ["", "   \n", "de da do que a os", "12/05/1938 nº 8.666/93 §§ !!!", "🏛️ …"])
def test_nothing_comes_from_nothing(generator, text) -> None:
    assert generator.generate(text) == []
    assert OfflineGenerator().fit([text, text]).generate(text) == []


@pytest.mark.parametrize("corpus", [[], ["Prazo da licitação."], ["Prazo da licitação."] * 20, [""]])
def test_corpora_without_neighbours(corpus) -> None:
    found = OfflineGenerator().fit(corpus).generate("Prazo da licitação.")
    assert found == [("prazo da licitação", [])]


def test_lone_surrogates() -> None:
    broken = "Licitação \ud800 pública \udfff"
    assert "licitação" in flat(OfflineGenerator().fit([broken, *STATEMENTS]).generate(broken))


def test_megabytes_in_one_text() -> None:
    long = ["licitação pública " * 100_000, "x" * 2_000_000, ("obra, " * 500_000) + "adjudicação"]
    first, second, third = OfflineGenerator().fit([*long, *STATEMENTS]).generate_all(long)
    assert flat(first) == "licitação pública"
    assert second == []
    assert flat(third) == "obra"


def test_the_sample_and_the_counts_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr(offline_corpus, "_TEXTS_KEPT", 10)
    monkeypatch.setattr(offline_corpus, "_COUNTED", 40)
    heads = []
    for _ in range(2):
        words = CorpusWords(Analyzer())
        for number in range(400):
            words.add(f"licitação palavra{'abcdefghij'[number % 10]}{'klmnopqrst'[number // 10 % 10]} texto {number}")
        assert len(words.surfaces()) <= 40
        assert "licit" in words.surfaces()
        heads.append([kept.head for kept in words.take_kept()])
    assert len(heads[0]) == 10
    assert heads[0] == heads[1]
    assert any(int(head.split()[-1]) >= 200 for head in heads[0])


def test_a_corpus_larger_than_the_sample_still_answers(monkeypatch) -> None:
    monkeypatch.setattr(offline_corpus, "_TEXTS_KEPT", 3)
    result = OfflineGenerator().fit(STATEMENTS).generate_all(STATEMENTS)
    assert all(result)


# Refusals


def test_generating_before_fitting_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="call fit"):
        OfflineGenerator().generate("Prazo.")


@pytest.mark.parametrize(
    "parameters",
    [
        {"terms": 0},
        {"terms": True},
        {"related": -1},
        {"related": 9},
        {"related": 1.0},
        {"language": "fr"},
        {"encoder": object()},
    ],
)
def test_parameters_out_of_range_are_refused(parameters) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(parameters))):
        OfflineGenerator(**parameters)


def test_what_is_not_text_is_refused_without_showing_it(generator) -> None:
    for wrong in ("um texto só", ["certo", b"segredo"], 5):
        with pytest.raises(InputTypeError) as caught:
            OfflineGenerator().fit(wrong)
        assert "segredo" not in str(caught.value)
    with pytest.raises(InputTypeError):
        generator.generate(None)


def test_an_encoder_that_gives_no_numbers_is_named() -> None:
    class Broken(CountingEncoder):
        model_id = "quebrado"

        def embed_documents(self, texts: Sequence[str], *, progress=None) -> np.ndarray:
            return np.full((len(texts), self.dimensions), np.nan, np.float32)

    with pytest.raises(EncoderError, match="quebrado"):
        OfflineGenerator(encoder=Broken()).fit(STATEMENTS)


def test_the_name_holds_what_changes_the_result() -> None:
    assert OfflineGenerator().model_id == "limiar-offline-1-pt-8-2"
    assert OfflineGenerator(language="en", terms=3, related=0).model_id == "limiar-offline-1-en-3-0"


def test_progress_reaches_the_total() -> None:
    fitting: list[tuple[int, int]] = []
    generating: list[tuple[int, int]] = []
    fitted = OfflineGenerator().fit(STATEMENTS, progress=lambda done, total: fitting.append((done, total)))
    fitted.generate_all(STATEMENTS, progress=lambda done, total: generating.append((done, total)))
    assert fitting[-1][0] == fitting[-1][1] > len(STATEMENTS)
    assert generating[-1] == (len(STATEMENTS), len(STATEMENTS))


# The parts


@pytest.mark.parametrize(
    ("text", "chosen", "expected"),
    [
        ("A multa por atraso na obra", ["mult", "obra", "atras"], ["multa por atraso na obra"]),
        ("A multa, por atraso na obra", ["mult", "obra", "atras"], ["multa", "atraso na obra"]),
        ("Multa que não é de obra", ["mult", "obra"], ["multa", "obra"]),
        ("Obra em atraso. Atraso da multa", ["mult", "atras", "obra"], ["atraso da multa", "obra"]),
        ("Obra obra obra", ["obra"], ["obra"]),
        ("Multa da obra de", ["mult", "obra"], ["multa da obra"]),
    ],
)
def test_phrases(text, chosen, expected) -> None:
    found = phrases(words_of(text, Analyzer()), chosen)
    assert [" ".join(word.surface for word in phrase) for phrase in found] == expected


def test_best_leaves_out_what_is_not_finite_and_keeps_ties_in_order() -> None:
    scores = np.array([0.1, 0.9, -np.inf, 0.9, 0.5], np.float32)
    assert best(scores, 2).tolist() == [1, 3]
    assert best(scores, 9).tolist() == [1, 3, 4, 0]
    assert best(np.zeros(0, np.float32), 3).tolist() == []


def test_equal_vectors_have_no_direction_and_no_neighbours() -> None:
    same = np.ones((3, 4), np.float32)
    assert not directions(same, same.mean(axis=0)).any()
    assert nearest_words(["a", "b", "c"], same) == {"a": [], "b": [], "c": []}
