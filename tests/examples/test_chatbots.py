import importlib.util
import re
import socket
from pathlib import Path

import chromadb
import pytest

from limiar.evaluation.dataset import load_demo

for module in (
    "langchain_chroma",
    "langchain_openai",
    "llama_index.vector_stores.chroma",
    "llama_index.llms.openai_like",
):
    pytest.importorskip(module)

spec = importlib.util.spec_from_file_location("llm_server", Path(__file__).with_name("llm_server.py"))
llm_server = importlib.util.module_from_spec(spec)
spec.loader.exec_module(llm_server)
LlmServer = llm_server.LlmServer

DEMO = load_demo()
QUESTIONS = {question.id: question.text for question in DEMO.questions}
PORTUGUESE, ENGLISH, UNANSWERABLE = "p09", "i05", "i56"
FOLLOW_UP = "e no fim do ano?"
STANDALONE = "restos a pagar não processados no fim do ano"
NOTHING = "I found nothing relevant."
PASSAGES = "the passages are the answer"


def passage_text(passage_id: str) -> str:
    return next(passage.text for passage in DEMO.passages if passage.id == passage_id)


def flat(text: str) -> str:
    """Without the line breaks of the terminal."""
    return re.sub(r"\s+", " ", text)


def test_the_first_start_indexes_the_demo_corpus(first_run):
    _, session = first_run
    assert session.returncode == 0, session.stderr
    assert f"{len(DEMO.passages)} passages, {len(DEMO.passages)} novas / new" in session.start.replace(
        "passagens / ", ""
    )


def test_a_conversation_without_llm(chatbot):
    asked = (QUESTIONS[PORTUGUESE], FOLLOW_UP, QUESTIONS[ENGLISH], QUESTIONS[UNANSWERABLE], FOLLOW_UP)
    session = chatbot.run(*asked, "exit", "never asked")

    assert session.returncode == 0, session.stderr
    assert session.stdout.count(PASSAGES) == 1
    portuguese, follow_up, english, unanswerable, follows_nothing = session.turns
    for turn, question in ((portuguese, PORTUGUESE), (english, ENGLISH)):
        assert turn.sources[0] in DEMO.qrels[question]
        assert turn.scores[0] >= 0.45
        assert flat(passage_text(turn.sources[0])) in flat(turn.text)
    assert f"(entendi como: {QUESTIONS[PORTUGUESE]} {FOLLOW_UP})" in follow_up.text
    assert follow_up.sources[0] in DEMO.qrels[PORTUGUESE]
    assert NOTHING in unanswerable.text
    assert "not trusted" in unanswerable.text
    assert len(unanswerable.sources) == 1
    assert passage_text(unanswerable.sources[0])[:40] not in unanswerable.text
    assert NOTHING in follows_nothing.text


def test_a_second_start_embeds_nothing(chatbot):
    def stored():
        settings = chromadb.Settings(anonymized_telemetry=False)
        return chromadb.PersistentClient(str(chatbot.db), settings=settings).get_collection("limiar_chatbot")

    collection = stored()
    before = collection.get(include=["embeddings", "metadatas"])
    marked = before["ids"][0]
    collection.update(ids=[marked], embeddings=[-before["embeddings"][0]])

    session = chatbot.run()

    assert ", 0 novas / new" in session.start
    after = stored().get(include=["embeddings"])
    assert sorted(after["ids"]) == sorted(before["ids"])
    now = dict(zip(after["ids"], after["embeddings"], strict=True))[marked]
    assert now == pytest.approx(-before["embeddings"][0], abs=1e-6), "the passage was embedded again"


def test_own_documents(chatbot, tmp_path):
    notes = tmp_path / "notes"
    (notes / "café").mkdir(parents=True)
    fragrant = "# Café coado\n\nPara o café coado, use água a 94 graus e moagem média.\n"
    (notes / "café" / "coado.md").write_text(fragrant, encoding="utf-8")
    (notes / "chaves.txt").write_text(
        "As chaves do almoxarifado ficam com a Dona Marta, na recepção.", encoding="utf-8"
    )
    (notes / "ignored.csv").write_text("café,94", encoding="utf-8")
    arguments = ("--docs", str(notes), "--top-n", "1", "--threshold", "0.3", "--question", "chaves do almoxarifado")

    session = chatbot.run(arguments=arguments)

    assert session.returncode == 0, session.stderr
    assert "2 passagens / passages, 2 novas / new" in session.stdout, "the demo corpus gives way to the user's"
    assert "(chaves.txt#1)" in session.stdout
    assert "Dona Marta" in session.stdout

    (notes / "chaves.txt").write_text("As chaves do almoxarifado ficam com o Seu Jorge, na portaria.", encoding="utf-8")
    session = chatbot.run(arguments=arguments)

    assert "2 passagens / passages, 1 novas / new" in session.stdout
    assert "Seu Jorge" in session.stdout
    assert "Dona Marta" not in session.stdout


def test_an_llm_answers_from_the_passages_and_knows_the_history(chatbot):
    question = f"{QUESTIONS[PORTUGUESE]} {{2024}}?"
    server = LlmServer(plain=STANDALONE, pieces=["Sim, ", "podem ", "ser {cancelados} [1]."])
    with server.running():
        arguments = ("--llm-base-url", server.url, "--llm-model", "my-model")
        session = chatbot.run(QUESTIONS[UNANSWERABLE], question, FOLLOW_UP, arguments=arguments, api_key="secret")

    assert session.returncode == 0, session.stderr
    assert PASSAGES not in session.stdout
    nothing, first, second = session.turns
    assert NOTHING in nothing.text
    assert "not trusted" in nothing.text
    assert "Sim, podem ser {cancelados} [1].\n" in first.text
    assert first.sources[0] in DEMO.qrels[PORTUGUESE]
    assert flat(passage_text(first.sources[0])) not in flat(first.text), "the LLM's answer replaces the passages"
    assert f"(entendi como: {STANDALONE})" in second.text

    assert {body["model"] for body in server.requests} == {"my-model"}
    assert set(server.keys) == {"Bearer secret"}
    condense, (answer, answer_to_follow_up) = server.unstreamed, server.streamed  # and none for what nothing answers
    assert len(condense) == 1
    assert_told(condense[0], question, "{cancelados}", FOLLOW_UP)
    assert_told(answer, question, *map(passage_text, first.sources))
    assert_told(answer_to_follow_up, question, "{cancelados}", FOLLOW_UP, *map(passage_text, second.sources))
    assert not is_told(condense[0], QUESTIONS[UNANSWERABLE]), "an unanswered question is not part of the history"


def is_told(body, text):
    return text in "\n".join(message["content"] for message in body["messages"])


def assert_told(body, *texts):
    for text in texts:
        assert is_told(body, text), text


def test_a_server_that_dies_in_mid_answer(chatbot):
    server = LlmServer(plain=STANDALONE, pieces=["Sim, ", "podem"], dies_after=1)
    with server.running():
        session = chatbot.run(QUESTIONS[PORTUGUESE], QUESTIONS[ENGLISH], arguments=("--llm-base-url", server.url))
    assert_passages_instead(session)
    assert server.unstreamed == [], "half an answer is not part of the history"


def test_a_server_that_is_down(chatbot):
    with socket.socket() as reserved:  # bound, and not listening
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/v1"
        session = chatbot.run(QUESTIONS[PORTUGUESE], QUESTIONS[ENGLISH], arguments=("--llm-base-url", url))
    assert_passages_instead(session)


def assert_passages_instead(session):
    assert session.returncode == 0, session.stderr
    assert "Traceback" not in session.stderr
    assert len(session.turns) == 2
    for turn, question in zip(session.turns, (PORTUGUESE, ENGLISH), strict=True):
        assert "[o servidor de LLM falhou / the LLM server failed: " in turn.text
        assert turn.sources[0] in DEMO.qrels[question]
        assert flat(passage_text(turn.sources[0])) in flat(turn.text)


def test_a_threshold_out_of_range_is_refused(chatbot):
    session = chatbot.run(arguments=("--threshold", "nan"))
    assert session.returncode == 2
    assert "--threshold must be in [0, 1] and --top-n at least 1" in session.stderr
