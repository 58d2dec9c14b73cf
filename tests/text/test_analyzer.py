"""Analysis of Portuguese and English: what shares a term, and what must stay apart."""

from __future__ import annotations

import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limiar.errors import ConfigurationError
from limiar.text.analyzer import Analyzer, strip_accents

pt = Analyzer("pt")
en = Analyzer("en")


def test_portuguese_is_the_default() -> None:
    assert Analyzer() == pt


@pytest.mark.parametrize("language", ["fr", "PT", "", "portuguese", None])
def test_an_unknown_language_is_refused_with_the_choices(language: Any) -> None:
    with pytest.raises(ConfigurationError, match="choose one of: en, pt"):
        Analyzer(language)


# Words


@pytest.mark.parametrize(
    "forms",
    [
        ["licitação", "licitações", "licitacao", "licitacoes", "LICITAÇÃO", "Licitações"],
        ["órgão", "órgãos", "orgao", "orgaos"],
        ["acórdão", "acórdãos", "acordao", "acordaos"],
        ["necessária", "necessárias", "necessaria", "necessarias"],
        ["previdência", "previdencia"],
        ["imóvel", "imovel"],
        ["líquido", "liquido"],
        ["não", "nao"],
    ],
    ids=lambda forms: str(forms[0]),
)
def test_forms_of_a_portuguese_word_share_one_term(forms: list[str]) -> None:
    terms = [pt(form) for form in forms]
    assert all(len(found) == 1 for found in terms)
    assert len({found[0] for found in terms}) == 1, terms


@pytest.mark.parametrize(
    "forms", [["node", "nodes", "Nodes"], ["cluster", "clusters", "clustering"], ["policy", "policies"]]
)
def test_forms_of_an_english_word_share_one_term(forms: list[str]) -> None:
    assert len({tuple(en(form)) for form in forms}) == 1


def test_terms_carry_no_accents() -> None:
    assert pt("Ação Pública à União") == [strip_accents(term) for term in pt("Ação Pública à União")]
    assert strip_accents("São João à Ürümqi") == "Sao Joao a Urumqi"


@pytest.mark.parametrize("text", ["quais são os", "Quais sao os", "o que é isso", "de um para o outro"[:11]])
def test_portuguese_stop_words_are_gone_with_and_without_accents(text: str) -> None:
    assert pt(text) == []


@pytest.mark.parametrize("text", ["what is the", "How does it", "no", "which of these are"])
def test_english_stop_words_are_gone(text: str) -> None:
    assert en(text) == []


def test_a_language_keeps_the_other_s_stop_words() -> None:
    assert pt("the") == ["the"]
    assert en("para") == ["para"]
    assert en("num") == ["num"]


def test_ha_is_a_topic() -> None:
    assert pt("Proxmox HA") == ["proxmox", "ha"]
    assert pt("há") == []


def test_order_and_duplicates_stay() -> None:
    assert en("quorum lost, quorum found") == ["quorum", "lost", "quorum", "found"]


@pytest.mark.parametrize("text", ["", " ", "\n\t", "...", "—", "🔥", "º", "§", "$ % &", "\x00", "\ud83d"])
def test_a_text_without_words_has_no_terms(text: str) -> None:
    assert pt(text) == en(text) == []


def test_scripts_without_a_stemmer_are_words_all_the_same() -> None:
    assert pt("فقدان النصاب") == ["فقدان", "النصاب"]
    assert en("集群 故障") == ["集群", "故障"]


# Laws


@pytest.mark.parametrize(
    "text",
    ["Lei 8.666/93", "lei nº 8666", "Lei 8666/1993", "Lei n. 8.666/93", "LEI Nº 8.666/1993", "Lei n.º 8.666",
     "Lei n° 8666", "lei número 8.666", "Lei no 8.666", "Lei 8.666, de 21/06/93"],
)  # fmt: skip
def test_every_way_to_write_a_law_shares_its_number(text: str) -> None:
    assert pt(text)[:2] == ["lei", "8666"]


def test_a_law_with_its_year_shares_the_year_too() -> None:
    assert pt("Lei 8.666/93") == pt("Lei 8666/1993") == pt("Lei nº 8.666/1993") == ["lei", "8666", "8666/1993"]
    assert en("Law 8.666/93") == en("Law 8666/1993") == ["law", "8666", "8666/1993"]
    assert pt("Lei 14.133/21") == pt("Lei 14133/2021")
    assert pt("8.666/93,14.133/21") == ["8666", "8666/1993", "14133", "14133/2021"]


def test_a_ruling_is_found_by_number_and_by_number_and_year() -> None:
    terms = pt("Acórdão 1234/2020")
    assert terms[1:] == ["1234", "1234/2020"]
    assert terms == pt("acordao nº 1.234/2020") == pt("Acórdãos 1234/20")


def test_leading_zeros_do_not_count() -> None:
    assert pt("IN 05/2017") == pt("IN nº 5/2017") == ["in", "5", "5/2017"]
    assert pt("Súmula 09") == pt("súmula 9")


@pytest.mark.parametrize(
    "text", ["art. 37, § 6º", "artigo 37 §6", "Art. 37, § 6.º", "ART 37 § 6°", "Artigo 37º, §6o", "arts. 37, §§ 6º"]
)
def test_every_way_to_write_an_article_shares_its_terms(text: str) -> None:
    assert pt(text) == ["art.37", "§6"]


def test_articles_are_not_numbers_and_not_each_other() -> None:
    assert pt("art. 5º-A") == pt("art. 5-A") == ["art.5-a"]
    assert pt("art. 5") == ["art.5"]
    assert pt("art. 1.228") == ["art.1228"]
    assert pt("a arte 5") == [*pt("arte"), "5"]
    assert en("article 5 of the law") == ["art.5", "law"]


@pytest.mark.parametrize("text", ["nº 8", "n. 8", "n.º 8", "Nº8", "n° 8", "número 8"])
def test_the_ordinal_sign_is_dropped_before_a_number_only(text: str) -> None:
    assert pt(text) == ["8"]
    assert pt("número de série") == [*pt("número"), *pt("série")] != pt("série")
    assert pt("n") == ["n"]


# Numbers


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("R$ 1.234,56", ["1234.56"]),
        ("1234,56", ["1234.56"]),
        ("R$ 17.600,00", ["17600"]),
        ("US$ 17.600", ["17600"]),
        ("1.000.000", ["1000000"]),
        ("1.234.567.890", ["1234567890"]),
        ("12,5%", ["12.5"]),
        ("3.14", ["3.14"]),
        ("0.123", ["0.123"]),
        ("37,38,39", ["37", "38", "39"]),
        ("1º", ["1"]),
        ("2ª", ["2"]),
        ("16GB", ["16gb"]),
        ("1.5GB", ["1.5gb"]),
        ("24/7", ["24", "7"]),
        ("00", ["0"]),
    ],
)
def test_numbers(text: str, terms: list[str]) -> None:
    assert pt(text) == terms


def test_english_groups_by_commas() -> None:
    assert en("1,234.56") == en("1234.56") == ["1234.56"]
    assert en("$10,000") == en("10000") == ["10000"]


@pytest.mark.parametrize("analyze", [pt, en])
@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("10.0.0.1", ["10.0.0.1"]),
        ("192.168.100.200", ["192.168.100.200"]),
        ("10.0.0.1:8006", ["10.0.0.1", "8006"]),
        ("10.0.0.0/24", ["10.0.0.0", "10.0.0.0/24"]),
        ("1.28.3", ["1.28.3"]),
        ("8.1", ["8.1"]),
        ("12/05/38", ["12/05/38"]),
        ("12/05/1938", ["12/05/38", "1938"]),
        ("2/5/1938", ["02/05/38", "1938"]),
        ("2024-01-15", ["2024-01-15", "2024"]),
    ],
)
def test_addresses_versions_and_dates_stay_whole(analyze: Analyzer, text: str, terms: list[str]) -> None:
    assert analyze(text) == terms
    assert analyze(f"({text}).") == terms


def test_a_number_at_the_end_of_a_sentence_is_the_same_number() -> None:
    assert pt("Lei 8.666/93.") == pt("Lei 8.666/93")
    assert en("version 1.28.3.") == en("version 1.28.3")


# Technical tokens


@pytest.mark.parametrize("analyze", [pt, en])
@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("ms-marco", "ms-marco"),
        ("C++", "c++"),
        ("C#", "c#"),
        ("osd.3", "osd.3"),
        ("v1.28", "v1.28"),
        ("min_size", "min_size"),
        ("corosync.conf", "corosync.conf"),
        ("/etc/pve/corosync.conf", "corosync.conf"),
        ("802.1q", "802.1q"),
    ],
)
def test_technical_tokens_stay_whole(analyze: Analyzer, text: str, whole: str) -> None:
    assert analyze(text).count(whole) == 1
    assert analyze(f"o {text}, e") == analyze(f"o {text}; e")


def test_the_words_of_a_technical_token_are_found_alone() -> None:
    assert set(en("marco")) <= set(en("ms-marco"))
    assert set(pt("corosync")) <= set(pt("corosync.conf"))


def test_versions_and_languages_are_not_cut() -> None:
    assert pt("v1.28") == ["v1.28"]
    assert pt("C++") == ["c++"]
    assert en("c") == ["c"]
    assert pt("osd.3") != pt("osd.4")


# Any text


@pytest.mark.parametrize("analyze", [pt, en])
@pytest.mark.parametrize("text", ["Licitação nº 5", "Ações à União", "naïve café", "ÁÉÍÓÚ ç"])
def test_composed_and_decomposed_texts_are_the_same(analyze: Analyzer, text: str) -> None:
    assert analyze(unicodedata.normalize("NFC", text)) == analyze(unicodedata.normalize("NFD", text))


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=80), st.sampled_from(["pt", "en"]))
def test_any_text_has_clean_terms(text: str, language: str) -> None:
    terms = Analyzer(language)(text)
    assert all(terms), "no term is empty"
    assert not any(character.isspace() for term in terms for character in term)
    assert terms == Analyzer(language)(unicodedata.normalize("NFD", text))


@settings(deadline=None, derandomize=True)
@given(st.text("0123456789.,/-nº°§r$ art", max_size=40), st.sampled_from(["pt", "en"]))
def test_any_number_has_clean_terms(text: str, language: str) -> None:
    terms = Analyzer(language)(text)
    assert all(terms)
    assert not any(character.isspace() for term in terms for character in term)
    assert bool(terms) or not any(character in "123456789" for character in text)


@pytest.mark.parametrize("pattern", ["a", "1", "1.", "1,", "a-", "n", "nº ", "art. ", "§ ", "a+", " "])
def test_a_text_of_millions_of_characters_is_analysed(pattern: str) -> None:
    """Time grows with the length, not with its square: otherwise this test would not end."""
    pt(pattern * (2_000_000 // len(pattern)))


def test_many_threads_stem_alike() -> None:
    """PyStemmer's objects must not be shared between threads."""
    words = [f"{start}{end}" for start in ("licit", "public", "contrat", "apresent", "obrig") for end in (
        "ação", "ações", "ado", "ados", "ar", "amos", "ante", "antes", "ável", "áveis",
    )]  # fmt: skip
    # Texts that no cache has seen: each thread stems for itself.
    texts = [" ".join(f"{prefix}{word}" for word in words) for prefix in "bcdfghjklmnpqrst" for _ in range(4)]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(Analyzer("pt"), texts))
    assert together == [pt(text) for text in texts]
