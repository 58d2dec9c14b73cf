"""The example searches as a user runs them: subprocesses on one folder, without a way to the internet."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from limiar.evaluation.dataset import load_demo

for module in ("langchain_core", "llama_index.core", "tantivy", "chromadb"):
    pytest.importorskip(module)

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LANGCHAIN, LLAMA_INDEX = "langchain_hybrid_search.py", "llama_index_hybrid_search.py"
DEMO = load_demo()
QUESTIONS = {question.id: question.text for question in DEMO.questions}
PASSAGES = {passage.id: passage for passage in DEMO.passages}
FOUND = re.compile(r"^│ (\d+)\s+│ (\S+)\s+│ ([\d.() -]*?)\s+│ ([\d.() -]*?)\s+│ (\d\.\d+) │$", re.MULTILINE)
RELEVANT = re.compile(r"^│ (\S+)\s+│ (\d\.\d\d)\s+│ (True|False)\s+│$", re.MULTILINE)


def run(script, folder, *arguments):
    closed = "http://127.0.0.1:9"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LIMIAR_"))}
    env |= {"HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1", "COLUMNS": "100"}
    env |= {"HTTP_PROXY": closed, "HTTPS_PROXY": closed, "http_proxy": closed, "https_proxy": closed}
    return subprocess.run(
        [sys.executable, str(EXAMPLES / script), "--folder", "index", *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def first(folder):
    return run(LANGCHAIN, folder, QUESTIONS["p09"])


def test_the_first_run_indexes_and_answers(first):
    assert first.returncode == 0, first.stderr
    assert f"{len(PASSAGES)} passagens / passages, {len(PASSAGES)} novas / new" in first.stdout
    found = FOUND.findall(first.stdout)
    assert [int(number) for number, *_ in found] == list(range(1, 11))
    assert all(bm25 or dense for _, _, bm25, dense, _ in found)
    fused = [float(score) for *_, score in found]
    assert fused == sorted(fused, reverse=True)
    relevant = RELEVANT.findall(first.stdout)
    assert 1 <= len(relevant) <= 3
    best, score, passed = relevant[0]
    assert (best in DEMO.qrels["p09"], float(score) >= 0.45, passed) == (True, True, "True")
    assert re.sub(r"\s+", " ", PASSAGES[best].full_text) in re.sub(r"\s+", " ", first.stdout)


def test_the_other_script_opens_the_same_folder_and_writes_nothing(first, folder):
    files = {path: path.stat().st_mtime_ns for path in (folder / "index" / "bm25").rglob("*.json")}
    second = run(LLAMA_INDEX, folder, QUESTIONS["p09"])
    assert second.returncode == 0, second.stderr
    assert f"{len(PASSAGES)} passagens / passages, 0 novas / new" in second.stdout
    assert FOUND.findall(second.stdout) == FOUND.findall(first.stdout)
    assert RELEVANT.findall(second.stdout) == RELEVANT.findall(first.stdout)
    assert {path: path.stat().st_mtime_ns for path in (folder / "index" / "bm25").rglob("*.json")} == files


@pytest.mark.parametrize("script", [LANGCHAIN, LLAMA_INDEX])
def test_a_filter_and_a_question_without_an_answer(first, folder, script):
    outcome = run(script, folder, QUESTIONS["i56"], "--filter", '{"topic": "proxmox"}', "--k", "3")
    assert outcome.returncode == 0, outcome.stderr
    shown = [identity for _, identity, *_ in FOUND.findall(outcome.stdout)]
    assert len(shown) == 3
    ((closest, score, passed),) = RELEVANT.findall(outcome.stdout)
    assert (float(score) < 0.45, passed) == (True, "False")
    assert {PASSAGES[identity].metadata["topic"] for identity in [*shown, closest]} == {"proxmox"}
    assert PASSAGES[closest].text[:40] not in outcome.stdout


@pytest.mark.parametrize("script", [LANGCHAIN, LLAMA_INDEX])
def test_bad_arguments(first, folder, script):
    refused = run(script, folder, "q", "--filter", "[1]")
    assert (refused.returncode, "invalid metadata_filter value" in refused.stderr) == (2, True)
    unknown = run(script, folder, "q", "--filter", '{"$what": 1}')
    assert unknown.returncode == 1
    assert "InputError: unknown operator '$what'" in unknown.stderr
    assert "Traceback" not in unknown.stderr
