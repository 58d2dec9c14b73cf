"""The keyword expansion examples as a user runs them: subprocesses, without a way to the internet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from limiar import HybridIndex
from limiar.evaluation.dataset import load_demo

for module in ("langchain_core", "llama_index.core", "tantivy", "chromadb", "openai"):
    pytest.importorskip(module)

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LANGCHAIN, LLAMA_INDEX = "langchain_keyword_expansion.py", "llama_index_keyword_expansion.py"
CLOSED = "http://127.0.0.1:9"


def run(script, folder, *arguments):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LIMIAR_"))}
    env |= {"HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1", "COLUMNS": "120", "OPENAI_API_KEY": "none"}
    env |= {"HTTP_PROXY": CLOSED, "HTTPS_PROXY": CLOSED, "http_proxy": CLOSED, "https_proxy": CLOSED}
    return subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("expansion")


@pytest.fixture(scope="module")
def first(folder):
    return run(LANGCHAIN, folder, "certame deserto")


def test_words_without_a_model(first, folder):
    assert first.returncode == 0, first.stderr
    count = len(load_demo().passages)
    assert f"{count} passagens, {count} com palavras geradas" in first.stdout
    assert "Só o texto / the text alone" in first.stdout
    assert "Texto e palavras / text and words" in first.stdout
    with HybridIndex.open(folder / "keyword_index", read_only=True) as index:
        documents = index.get(index.ids())
    assert all(document.generated["keywords"] for document in documents)
    assert {document.id: document.text for document in documents} == {
        passage.id: passage.full_text for passage in load_demo().passages
    }


def test_the_other_script_opens_the_same_folder(first, folder):
    second = run(LLAMA_INDEX, folder, "certame deserto")
    assert second.returncode == 0, second.stderr
    assert "com palavras geradas" not in second.stdout
    assert second.stdout in first.stdout


@pytest.mark.parametrize("script", [LANGCHAIN, LLAMA_INDEX])
def test_a_server_that_is_down_and_options_that_do_not_fit(folder, script):
    down = run(script, folder, "certame", "--model", "x", "--base-url", CLOSED, "--folder", f"other {script}")
    assert down.returncode == 1
    assert down.stderr.startswith("ChatError: ")
    unfit = run(script, folder, "certame", "--reword")
    assert unfit.returncode == 2
    assert "--reword needs --model" in unfit.stderr
    none = run(script, folder, "certame", "--k", "0")
    assert none.returncode == 2
    assert "--k 0; expected at least 1" in none.stderr
