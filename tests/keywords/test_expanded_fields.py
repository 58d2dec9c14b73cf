"""Generated fields for texts, by a chat model or from statistics."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

import pytest

from limiar import Expander, ExpansionPrompt, ExpansionStore, FunctionChat, OfflineGenerator
from limiar.errors import ChatError, ConfigurationError, InputTypeError
from limiar.keywords.expanded_fields import check_source, expanded_fields, recipe_of
from limiar.testing import WordsEncoder

PREGAO = "O pregão eletrônico é a modalidade para bens comuns."
OBRA = "A obra parada gera multa diária."
FIELDS = {
    PREGAO: {"keywords": "pregão leilão reverso", "questions": "Como se compram bens comuns?"},
    OBRA: {"keywords": "obra parada empreendimento suspenso", "questions": "Quanto custa a obra parada?"},
}


class Model:
    """Knows the texts of `FIELDS`; refuses others."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, messages: Sequence[dict[str, str]]) -> str:
        text = messages[1]["content"].split("\n")[1]
        self.asked.append(text)
        if text == PREGAO:
            keywords = [{"term": "pregão", "synonyms": ["leilão reverso"]}]
            return json.dumps({"keywords": keywords, "questions": ["Como se compram bens comuns?"]})
        if text == OBRA:
            keywords = [{"term": "obra parada", "synonyms": ["empreendimento suspenso"]}]
            return json.dumps({"keywords": keywords, "questions": ["Quanto custa a obra parada?"]})
        return "Desculpe, não posso ajudar."


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def expander(model: Model, store: ExpansionStore) -> Expander:
    return Expander(FunctionChat(model, "example"), store, ExpansionPrompt(questions=1), max_retries=0)


def test_fields_in_order_and_no_text_twice(expander: Expander, model: Model) -> None:
    texts = [OBRA, PREGAO, "", OBRA]
    assert expanded_fields(expander, texts) == [FIELDS[OBRA], FIELDS[PREGAO], {}, FIELDS[OBRA]]
    assert expanded_fields(expander, [PREGAO]) == [FIELDS[PREGAO]]
    assert sorted(model.asked) == sorted([OBRA, PREGAO])
    assert expanded_fields(expander, []) == []


def test_the_callers_list_stays_as_it_is(expander: Expander) -> None:
    texts = (PREGAO, OBRA)
    expanded_fields(expander, texts)
    assert texts == (PREGAO, OBRA)


def test_what_the_model_gives_nothing_for(expander: Expander, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="limiar"):
        assert expanded_fields(expander, ["um texto recusado", PREGAO]) == [{}, FIELDS[PREGAO]]
    assert "1 of 2 texts got no generated words" in caplog.text
    assert "recusado" not in caplog.text


def test_one_batch_does_not_make_another_stale(expander: Expander, store: ExpansionStore) -> None:
    expanded_fields(expander, [PREGAO])
    expanded_fields(expander, [OBRA])
    assert store.stats()["stale"] == 0


def test_entries_made_elsewhere_are_used(expander: Expander, model: Model) -> None:
    expander.run([("lei-1", PREGAO)])
    assert expanded_fields(expander, [PREGAO]) == [FIELDS[PREGAO]]
    assert model.asked == [PREGAO]
    (entry,) = expander.store.of_document("lei-1")
    assert "lei-1" in entry.ids


def test_a_server_that_refuses_everyone(store: ExpansionStore) -> None:
    def refuse(_: object) -> str:
        message = "wrong key"
        raise ChatError(message, kind="fatal")

    with pytest.raises(ChatError, match="wrong key"):
        expanded_fields(Expander(FunctionChat(refuse, "example"), store), [PREGAO])


def test_statistics_learn_the_texts_or_stay_as_they_were_taught() -> None:
    texts = [PREGAO, OBRA, "A multa diária por atraso da obra.", "O pregão eletrônico exige edital."]
    untaught = OfflineGenerator(terms=3, related=0, encoder=WordsEncoder())
    found = expanded_fields(untaught, texts)
    assert untaught.fitted
    assert all(fields.keys() <= {"keywords"} for fields in found)
    assert "pregão" in found[0]["keywords"]
    taught = OfflineGenerator(terms=3, related=0, encoder=WordsEncoder()).fit(texts)
    assert expanded_fields(taught, [PREGAO, "", "de o a"]) == [found[0], {}, {}]


@pytest.mark.parametrize("first", [[], ["", " "]])
def test_statistics_learn_nothing_of_no_texts(first: list[str]) -> None:
    """Or an empty first batch, as a pipeline with a docstore gives one, would be all that they ever know."""
    untaught = OfflineGenerator(terms=3, related=0, encoder=WordsEncoder())
    assert expanded_fields(untaught, first) == [{} for _ in first]
    assert not untaught.fitted


def test_lone_surrogates(expander: Expander) -> None:
    texts = ["\ud800 obra", OBRA]
    assert expanded_fields(expander, texts) == [{}, FIELDS[OBRA]]
    for fields in expanded_fields(OfflineGenerator(encoder=WordsEncoder()), texts):
        "".join(fields.values()).encode("utf-8")


@pytest.mark.parametrize("source", [None, "gpt-4o-mini", print, FunctionChat(print, "chat"), Expander])
def test_what_cannot_expand(source: object) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a limiar\.Expander or a limiar\.OfflineGenerator"):
        check_source(source)
    with pytest.raises(ConfigurationError):
        expanded_fields(source, [])  # type: ignore[arg-type]


@pytest.mark.parametrize("texts", ["um texto", [None], [b"texto"], 7])
def test_what_are_no_texts(expander: Expander, model: Model, texts: object) -> None:
    with pytest.raises(InputTypeError):
        expanded_fields(expander, texts)  # type: ignore[arg-type]
    assert model.asked == []


def test_recipes_tell_sources_apart(expander: Expander, store: ExpansionStore) -> None:
    other = Expander(expander.chat, store, ExpansionPrompt(questions=2))
    same = Expander(expander.chat, store, expander.prompt, concurrency=1)
    offline = OfflineGenerator(terms=3, encoder=WordsEncoder())
    assert recipe_of(same) == recipe_of(expander)
    by_another_encoder = OfflineGenerator(terms=3, encoder=WordsEncoder(model_id="test/other"))
    assert len({recipe_of(source) for source in (expander, other, offline, by_another_encoder)}) == 4
