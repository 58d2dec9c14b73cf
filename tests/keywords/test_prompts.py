"""What is asked, and that a document is never more than data in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limiar import ConfigurationError, ExpansionPrompt
from limiar.keywords.prompts import neutral, shorten


@pytest.mark.parametrize(("language", "tag"), [("pt", "documento"), ("en", "document")])
def test_both_languages_say_what_is_wanted(language: str, tag: str) -> None:
    prompt = ExpansionPrompt(language, keywords=7, synonyms=2, questions=5, statement=True)
    system, user = (message["content"] for message in prompt.messages("Texto."))
    for said in ('"keywords"', '"questions"', '"statement"', "7", "5", f"<{tag}>", "JSON"):
        assert said in system
    assert "{" not in system.replace('{"', "")  # no field was left unfilled
    assert user.startswith(f"<{tag}>\nTexto.\n</{tag}>")


def test_only_what_is_wanted_is_asked_for() -> None:
    prompt = ExpansionPrompt(keywords=0, questions=3)
    assert "keywords" not in prompt.system
    assert prompt.parts == ("questions",)
    assert list(prompt.schema()["properties"]) == ["questions"]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("output", "said"),
    [(None, "mesma língua"), ("pt", "em português"), ("en", "em inglês"), ("galego", "nesta língua: galego")],
)
def test_the_language_of_the_answer(output: str | None, said: str) -> None:
    assert said in ExpansionPrompt(output_language=output).system


def test_everything_that_changes_the_answer_changes_the_fingerprint() -> None:
    prompt = ExpansionPrompt()
    changes = [
        {"language": "en"}, {"keywords": 11}, {"synonyms": 5}, {"questions": 1}, {"statement": True}, {"version": "2"},
        {"output_language": "en"}, {"max_characters": 500}, {"instructions": "Escreva {keywords} termos."},
    ]  # fmt: skip
    prints = {replace(prompt, **change).fingerprint for change in changes}  # type: ignore[arg-type]
    assert len(prints | {prompt.fingerprint}) == len(changes) + 1
    assert ExpansionPrompt().fingerprint == prompt.fingerprint


def test_instructions_of_ones_own() -> None:
    prompt = ExpansionPrompt(
        keywords=3, instructions='Termos: {keywords}. {parts} {outro} {"a": 1} {form}', version="minha"
    )
    assert prompt.system.startswith('Termos: 3. - "keywords": até 3 termos')
    assert '{outro} {"a": 1} {"keywords"' in prompt.system


@pytest.mark.parametrize(
    "values",
    [{"language": "es"}, {"keywords": 0}, {"keywords": -1}, {"keywords": 51}, {"questions": 21}, {"max_characters": 1},
     {"instructions": " "}, {"version": ""}, {"output_language": 3}, {"keywords": True}],
)  # fmt: skip
def test_values_out_of_range(values: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        ExpansionPrompt(**values)  # type: ignore[arg-type]


@given(st.text(alphabet="<>/|[] documentINSTYsx‹\n\t\u200b", max_size=60))
def test_no_text_closes_its_quotation(text: str) -> None:
    for tag in ("documento", "document"):
        quoted = neutral(text).lower()
        assert f"</{tag}>" not in quoted
        assert f"<{tag}>" not in quoted
    assert "<|" not in neutral(text)
    assert "[INST]" not in neutral(text)


@pytest.mark.parametrize("kept", ["a < b e c > d", "Lista [1]", "x | y", "if a <= b", "<table>", "Lei nº 8.666"])
def test_ordinary_text_is_left_alone(kept: str) -> None:
    assert neutral(kept) == kept


@given(st.text(max_size=200), st.integers(1, 100))
def test_shortened_texts(text: str, most: int) -> None:
    short = shorten(text, most)
    assert len(short) <= most or short == text
    assert text.startswith(short)


@pytest.mark.parametrize("opening", ["<", "[", "<<"])
def test_a_long_run_of_spaces_is_quoted_in_linear_time(opening: str) -> None:
    """It is the suite's own time limit that a quadratic search would run into."""
    text = opening + " " * 300_000
    assert text in ExpansionPrompt().messages(text)[1]["content"]


def test_a_text_is_shortened_at_a_word() -> None:
    assert shorten("licitação pública federal", 19) == "licitação pública"
    assert shorten("licitação pública federal", 17) == "licitação pública"
    assert shorten("a" * 50, 10) == "a" * 10
