"""What language models answer, and what may reach an index of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limiar import Expansion, ExpansionParseError, ExpansionPrompt, Keyword
from limiar.keywords.parser import parse_expansion

KEYWORDS = ExpansionPrompt("pt", keywords=6, synonyms=3)
ALL = ExpansionPrompt("pt", keywords=6, synonyms=3, questions=2, statement=True)
TWO = (Keyword("licitação", ("certame", "concorrência")), Keyword("dispensa", ("contratação direta",)))

FORMS = {
    "json": '{"keywords": [{"term": "licitação", "synonyms": ["certame", "concorrência"]},'
    ' {"term": "dispensa", "synonyms": ["contratação direta"]}]}',
    "fence": '```json\n{"keywords": [{"term": "licitação", "synonyms": ["certame", "concorrência"]},'
    ' {"term": "dispensa", "synonyms": ["contratação direta"]}]}\n```',
    "fence never closed": 'Claro!\n```\n{"keywords": [{"term": "licitação", "synonyms": ["certame", "concorrência"]},'
    ' {"term": "dispensa", "synonyms": ["contratação direta"]}]}',
    "prose around": 'Segue o JSON [pedido]: {"keywords": [{"term": "licitação", "synonyms": ["certame",'
    ' "concorrência"]}, {"term": "dispensa", "synonyms": ["contratação direta"]}]} Espero ter ajudado!',
    "cut in a string": '{"keywords": [{"term": "licitação", "synonyms": ["certame", "concorrência"]},'
    ' {"term": "dispensa", "synonyms": ["contratação direta", "comp',
    "cut in a name": '{"keywords": [{"term": "licitação", "synonyms": ["certame", "concorrência"]},'
    ' {"term": "dispensa", "synonyms": ["contratação direta"]}, {"ter',
    "comma too many": '{"keywords": [{"term": "licitação", "synonyms": ["certame", "concorrência",]},'
    ' {"term": "dispensa", "synonyms": ["contratação direta"],},]}',
    "portuguese names": '{"palavras-chave": [{"termo": "licitação", "sinônimos": ["certame", "concorrência"]},'
    ' {"termo": "dispensa", "sinonimos": "contratação direta"}]}',
    "object of lists": '{"licitação": ["certame", "concorrência"], "dispensa": ["contratação direta"]}',
    "objects of one": '[{"licitação": ["certame", "concorrência"]}, {"dispensa": ["contratação direta"]}]',
    "strings of pairs": '{"keywords": ["licitação: certame, concorrência", "dispensa: contratação direta"]}',
    "lists of lists": '[["licitação", "certame", "concorrência"], ["dispensa", "contratação direta"]]',
    "lines": "licitação: certame, concorrência\ndispensa: contratação direta",
    "brackets": "licitação: [certame, concorrência]\ndispensa: [contratação direta]",
    "numbers": "1. licitação: certame, concorrência\n2) dispensa: contratação direta",
    "bullets": "Palavras-chave:\n- **licitação**: certame, concorrência\n• dispensa – contratação direta",
    "parentheses": "* licitação (certame, concorrência)\n* dispensa (contratação direta)",
    "synonyms below": "1. **Termo:** licitação\n   - Sinônimos: certame, concorrência\n2. dispensa\n"
    "   - Sinônimos: contratação direta",
    "prose and lines": "Aqui estão os termos pedidos, como combinado:\n\n- licitação: certame, concorrência\n"
    "- dispensa: contratação direta\n\nSe precisar de mais, estou à disposição para ajudar no que for.",
    "thought first": "<think>O documento fala de {licitação}.\nkeywords: a, b</think>\n- licitação: certame,"
    " concorrência\n- dispensa: contratação direta",
    "duplicates": '{"keywords": [{"term": "licitação", "synonyms": ["certame", "CERTAME"]}, {"term": "LICITACAO",'
    ' "synonyms": ["concorrência", "Licitação"]}, {"term": "dispensa", "synonyms": ["contratação direta"]}]}',
    "single quotes": "{'keywords': [{'term': 'licitação', 'synonyms': ['certame', 'concorrência']},"
    " {'term': 'dispensa', 'synonyms': ['contratação direta']}]}",
    "quotation marks of a text": "{“keywords”: [{“term”: “licitação”, “synonyms”: [“certame”, “concorrência”]},"
    " {“term”: “dispensa”, “synonyms”: [“contratação direta”]}]}",
    "names without quotes": '{keywords: [{term: "licitação", synonyms: ["certame", "concorrência"]},'
    ' {term: "dispensa", synonyms: ["contratação direta"]}]}',
    "comments": '{\n  // os termos\n  "keywords": [\n    {"term": "licitação", "synonyms": ["certame", # um\n'
    '    "concorrência"]}, /* outro */ {"term": "dispensa", "synonyms": ["contratação direta", ...]}\n  ]\n}',
    "comma missing": '{"keywords": [{"term": "licitação", "synonyms": ["certame", "concorrência"]}\n'
    '{"term": "dispensa", "synonyms": ["contratação direta"]}\n]}',
    "bracket missing": '{"keywords": [{"term": "licitação", "synonyms": ["certame", "concorrência"},'
    ' {"term": "dispensa", "synonyms": ["contratação direta"}]}',
    "an escape too many": '{"keywords": [{"term": "licitação\\_", "synonyms": ["certame", "concorrência"]},'
    ' {"term": "dispensa", "synonyms": ["contratação direta"]}]}',
    "json lines": '{"term": "licitação", "synonyms": ["certame", "concorrência"]}\n'
    '{"term": "dispensa", "synonyms": ["contratação direta"]}',
    "form first": 'A forma é {"keywords": [{"term": "...", "synonyms": ["...", "..."]}]}. Assim:\n```json\n{"keywords":'
    ' [{"term": "...", "synonyms": ["..."]}]}\n```\n```json\n{"keywords": [{"term": "licitação", "synonyms":'
    ' ["certame", "concorrência"]}, {"term": "dispensa", "synonyms": ["contratação direta"]}]}\n```',
    "other json after it": '{"keywords": [{"term": "licitação", "synonyms": ["certame", "concorrência"]}, {"term":'
    ' "dispensa", "synonyms": ["contratação direta"]}]}\n{"confidence": ["high"]}\nUso:\n```python\n'
    'x = {"query": "abc", "size": 10}\nprint(x["query"])\n```',
    "within another object": '{"response": {"palavras_chave": [{"termo": "licitação", "sinônimos": ["certame",'
    ' "concorrência"]}, {"termo": "dispensa", "sinônimos": ["contratação direta"]}]}}',
    "an object of terms": '{"keywords": {"licitação": "certame, concorrência", "dispensa": ["contratação direta"]}}',
    "numbers in json": '{"keywords": ["1. licitação: certame, concorrência", "2. dispensa: contratação direta"]}',
    "other names": '[{"word": "licitação", "related": ["certame", "concorrência"], "score": 0.9},'
    ' {"word": "dispensa", "related": ["contratação direta"], "score": 0.5}]',
    "quoted lists": 'licitação: ["certame", "concorrência"]\ndispensa: ["contratação direta"]',
    "synonyms in lines below": "- **Licitação**:\n  - certame\n  - concorrência\n"
    "- **Dispensa**\n  - contratação direta",
    "synonyms below numbers": "1. licitação\n   - certame\n   - concorrência\n\n2. dispensa\n   - contratação direta",
    "yaml": "```yaml\nkeywords:\n  - term: licitação\n    synonyms:\n      - certame\n      - concorrência\n"
    '  - term: "dispensa"\n    synonyms: ["contratação direta"]\n```',
    "table": "Segue:\n\n| Nº | Termo | Sinônimos | Explicação |\n|---:|:---|:---|---|\n"
    "| 1 | **licitação** | certame, concorrência | disputa, por lei |\n| 2 | dispensa | contratação direta | exceção |",
    "table of other columns": "| Conceito | Formas |\n|---|---|\n| licitação | certame; concorrência |\n"
    "| dispensa | contratação direta |",
    "labels": "1. Termo 1: licitação | Sinônimos: certame, concorrência\n"
    "2. dispensa (sinônimos: contratação direta)\n\nObservação: termos do texto",
    "label below a line": "### Licitação\n**Sinônimos:** certame, concorrência\n\n"
    "Dispensa\nSinônimo(s): contratação direta",
    "emphasis": "1. **licitação**\n   - *Sinônimos:* certame, concorrência\n2. _dispensa_\n"
    "   - _Sinônimos_: contratação direta",
    "tabs": "* licitação\n\t+ certame\n\t+ concorrência\n* dispensa\n\t+ contratação direta",
    "lists of terms and lists": '[["licitação", ["certame", "concorrência"]], ["dispensa", "contratação direta"]]',
    "other bullets": "+ licitação: certame, concorrência\n✅ [x] dispensa: contratação direta",
    "end of a thought": 'São {"keywords": [{"term": "rascunho"}]}, talvez.\nTermo: outro\n</think>\n{"keywords":'
    ' [{"term": "licitação", "synonyms": ["certame", "concorrência"]},'
    ' {"term": "dispensa", "synonyms": ["contratação direta"]}]}',
    "marks of a template": "licitação: certame, concorrência\ndispensa: contratação direta<|im_end|></s>",
    "apology": "Peço desculpas, me desculpe pelo erro. Aqui está:\n- licitação: certame, concorrência\n"
    "- dispensa: contratação direta",
    "junk among them": '{"keywords": [{"term": "de", "synonyms": []}, {"term": "...", "synonyms": ["..."]}, "",'
    ' null, 7, {"term": "licitação", "synonyms": ["o", "certame", null, "concorrência", "da"]}, {"term":'
    ' "A licitação é um procedimento administrativo.", "synonyms": []}, {"term": "--", "synonyms": []},'
    ' {"term": "dispensa", "synonyms": ["contratação direta", "muito muito muito"]}]}',
}


@pytest.mark.parametrize("answer", FORMS.values(), ids=FORMS.keys())
def test_the_forms_that_models_answer_in(answer: str) -> None:
    found = parse_expansion(answer, KEYWORDS).keywords
    assert tuple(Keyword(one.term.lower(), one.synonyms) for one in found) == TWO


def test_numbers_are_not_taken_apart() -> None:
    answer = "- Nova Lei de Licitações: Lei 14.133/2021, NLLC\n- limite: R$ 50.000,00; teto / máximo"
    assert [keyword.synonyms for keyword in parse_expansion(answer, KEYWORDS).keywords] == [
        ("Lei 14.133/2021", "NLLC"),
        ("R$ 50.000,00", "teto", "máximo"),
    ]


@pytest.mark.parametrize("kept", ["ISO/IEC 27001:2022", "https://www.gov.br/compras", "NBR 9050:2020"])
def test_a_colon_within_a_word_parts_nothing(kept: str) -> None:
    assert parse_expansion(json.dumps({"keywords": [kept]}), KEYWORDS).keywords == (Keyword(kept),)
    lines = f"- {kept}: norma, padrão\n- sistema: {kept}"
    two = (Keyword(kept, ("norma", "padrão")), Keyword("sistema", (kept,)))
    assert parse_expansion(lines, KEYWORDS).keywords == two


REFUSALS = {
    "pt": "Desculpe, mas não posso ajudar com esse pedido.",
    "pt without accents": "Como um modelo de linguagem, nao posso gerar isso: lei, norma.",
    "en": "I'm sorry, but I can't assist with that request.",
    "en in json": '{"keywords": [], "statement": "I cannot help with that."}',
    "bulleted": "Sinto muito:\n- não consigo processar este documento",
    "with reasons": "Não posso fornecer palavras-chave: o documento está vazio\nMotivo: sem conteúdo",
    "with advice": "Infelizmente o documento não veio.\n\n- Envie o texto\n- Tente novamente",
    "with reasons en": "I'm unable to process this. Possible reasons:\n- policy violation\n- harmful content",
}


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS.keys())
def test_refusals(answer: str) -> None:
    with pytest.raises(ExpansionParseError) as caught:
        parse_expansion(answer, KEYWORDS)
    assert caught.value.reason == "refusal"
    assert caught.value.answer == answer
    assert answer not in str(caught.value)


def test_keywords_about_a_refusal_are_none() -> None:
    answer = "- recusa de proposta: desclassificação\n- pedido de desculpas: retratação"
    assert len(parse_expansion(answer, KEYWORDS).keywords) == 2


UNUSABLE = {
    "empty": "", "blank": " \n\t ", "thoughts only": "<think>hm", "prose": "O documento trata de licitações públicas.",
    "echo": '{"keywords": [{"term": "...", "synonyms": ["...", "..."]}]}', "braces": "{" * 5_000, "nothing": "{}",
    "null": "null", "numbers": "[1, 2, 3]", "half": '{"keywords": [', "code": "def f(x):\n    return x\n",
    "another form": '{"status": "ok", "data": {"id": 12, "tags": [{"name": "x"}]}}', "html": "<p>licitação</p>",
    "one line with a colon": "Observação: veja o anexo",
    "records": '{"keywords": [{"id": "a1", "kind": "noun"}, {"id": "b2", "kind": "noun"}]}',
    "questions": "- Quando cabe a dispensa?\n- Qual o limite?",
    "schema": '{"type": "object", "properties": {"keywords": {"type": "array", "items": {"type": "object"}}}}',
    "pwned": "PWNED", "null bytes": "\x00\x00",
}  # fmt: skip


@pytest.mark.parametrize("answer", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_junk_is_an_error(answer: str) -> None:
    with pytest.raises(ExpansionParseError):
        parse_expansion(answer, KEYWORDS)


def test_all_parts() -> None:
    answer = {
        "keywords": ["pregão"],
        "questions": ["O que é pregão?", "o que e pregao?", "Quando cabe?", "Quem julga o pregão?"],
        "statement": "O pregão serve a bens comuns.",
    }
    found = parse_expansion(json.dumps(answer), ALL)
    assert found.questions == ("O que é pregão?", "Quando cabe?")
    assert found.statement == "O pregão serve a bens comuns."


def test_parts_under_headings() -> None:
    answer = (
        "## Palavras-chave:\npregão, leilão\n\n**Perguntas:**\n1. Quando cabe o pregão?\n2. Quem julga?\n\n"
        "Enunciado: O pregão serve a bens comuns."
    )
    found = parse_expansion(answer, ALL)
    assert [keyword.term for keyword in found.keywords] == ["pregão", "leilão"]
    assert found.questions == ("Quando cabe o pregão?", "Quem julga?")
    assert found.statement == "O pregão serve a bens comuns."


def test_parts_under_headings_without_a_colon_and_with_more_words() -> None:
    answer = (
        "**Palavras-chave e sinônimos:**\n- pregão\n- leilão\n\n"
        "**Perguntas**\n- Quando cabe o pregão?\n- Quem julga?\n\n"
        "Enunciado\nO pregão serve a bens comuns."
    )
    found = parse_expansion(answer, ALL)
    assert [keyword.term for keyword in found.keywords] == ["pregão", "leilão"]
    assert found.questions == ("Quando cabe o pregão?", "Quem julga?")
    assert found.statement == "O pregão serve a bens comuns."


def test_questions_that_are_objects() -> None:
    answer = {"keywords": ["pregão"], "questions": [{"question": "Quem julga?"}], "statement": "Serve a bens comuns."}
    assert parse_expansion(json.dumps(answer), ALL).questions == ("Quem julga?",)


def test_a_missing_part_is_an_error_that_keeps_the_others() -> None:
    with pytest.raises(ExpansionParseError, match="no questions and no statement") as caught:
        parse_expansion(FORMS["json"], ALL)
    assert caught.value.partial == Expansion(TWO)
    assert caught.value.reason == "missing"


def test_what_was_not_asked_for_is_left_out() -> None:
    answer = {"keywords": ["pregão"], "questions": ["O que é pregão?"], "statement": "Texto.", "command": "rm"}
    assert parse_expansion(json.dumps(answer), KEYWORDS) == Expansion((Keyword("pregão"),))


def test_numbers_are_bounded() -> None:
    many = [{"term": f"termo técnico {n}", "synonyms": [f"forma {n}-{m}" for m in range(9)]} for n in range(99)]
    found = parse_expansion(json.dumps({"keywords": many}), KEYWORDS)
    assert len(found.keywords) == 6
    assert all(len(keyword.synonyms) == 3 for keyword in found.keywords)
    assert not parse_expansion(json.dumps({"keywords": ["x" * 200, "lei " * 30, "lei seca"]}), KEYWORDS).keywords[1:]


@pytest.mark.parametrize(
    "kept", ["art. 37", "C++", "Lei 14.133/2021", "TCU", "IN", "Acórdão 1234/2020", "ms-marco", "Ação à vista"]
)
def test_technical_terms_survive(kept: str) -> None:
    assert parse_expansion(json.dumps({"keywords": [kept]}), KEYWORDS).keywords == (Keyword(kept),)


def test_a_loop_is_cut_down() -> None:
    loop = "- licitação: certame, " + "certame, " * 5_000 + "\n" + "- licitação: certame\n" * 5_000
    assert parse_expansion(loop + "- dispensa: direta", KEYWORDS, cut=True).keywords[0] == TWO[0].__class__(
        "licitação", ("certame",)
    )
    statement = "O pregão serve a bens comuns. " * 300
    found = parse_expansion(
        json.dumps({"keywords": ["pregão"], "questions": ["O que é?"], "statement": statement}), ALL
    )
    assert found.statement == "O pregão serve a bens comuns."


def test_the_last_half_of_a_cut_answer_is_no_term() -> None:
    found = parse_expansion("- licitação: certame\n- dispensa: contratação direta, compra dir", KEYWORDS, cut=True)
    assert found.keywords[1] == Keyword("dispensa", ("contratação direta",))
    assert len(parse_expansion("- licitação: certame\n- dispensa: direta\n- inexigi", KEYWORDS, cut=True).keywords) == 2


HUGE = {
    "braces": "{" * 1_000_000, "quotes": '{"a": "' * 150_000, "brackets": "[[" * 500_000, "fences": "```" * 300_000,
    "colons": ":" * 1_000_000, "spaces": " " * 1_000_000, "letters": "a" * 1_000_000, "parens": "(" * 1_000_000,
    "bullets": "- a\n" * 250_000, "thoughts": "<think>" * 140_000, "dashes": "a - " * 250_000,
    "commas": "k: " + "a, " * 300_000,
    "escapes": '["' + "\\" * 1_000_000, "escaped quotes": '{"a": "' + '\\"' * 500_000,
    "spaces in a line": "- a" + " " * 1_000_000 + "b: c", "spaces in a text": '{"keywords": ["' + " " * 99_000 + '?"]}',
    "single quotes": "{'a" * 300_000, "open comments": '{"a": ' + "/*" * 500_000, "rows": "|" * 1_000_000,
    "stars": "*" * 1_000_000,
}  # fmt: skip


@pytest.mark.parametrize("answer", HUGE.values(), ids=HUGE.keys())
def test_a_megabyte_of_anything_ends(answer: str) -> None:
    """It is the suite's own time limit that a quadratic reader would run into."""
    with pytest.raises(ExpansionParseError):
        parse_expansion(answer, ALL)


@given(st.text(max_size=300) | st.sampled_from(sorted(FORMS.values())).flatmap(
    lambda form: st.integers(0, len(form)).map(lambda end: form[:end])
))  # fmt: skip
def test_any_text_gives_clean_keywords_or_an_error(answer: str) -> None:
    try:
        found = parse_expansion(answer, KEYWORDS)
    except ExpansionParseError:
        return
    terms = [keyword.term.casefold() for keyword in found.keywords]
    assert terms
    assert len(set(terms)) == len(terms)
    for keyword in found.keywords:
        for term in (keyword.term, *keyword.synonyms):
            assert 2 <= len(term) <= 80
            assert term == " ".join(term.split())
    assert Expansion.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_answers_of_a_real_small_model() -> None:
    """SmolLM2-135M over passages of the demo corpus: it says mostly junk, and none of that becomes a keyword."""
    lines = (Path(__file__).parent / "smollm2_answers.jsonl").read_text(encoding="utf-8").splitlines()
    for line in lines:
        case = json.loads(line)
        prompt = ExpansionPrompt(case["language"], keywords=8, synonyms=3, questions=case["questions"])
        try:
            terms = [keyword.term for keyword in parse_expansion(case["answer"], prompt, cut=case["cut"]).keywords]
        except ExpansionParseError as error:
            terms = [error.reason]
        assert terms == case["expected"], case["answer"][:80]
