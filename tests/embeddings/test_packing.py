"""Counting, cutting and packing: the limits hold for any text."""

from __future__ import annotations

import random
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limiar.embeddings.packing import ByteCounter, TiktokenCounter, pack, token_counter


@given(st.lists(st.integers(1, 50)), st.integers(1, 10), st.integers(50, 100))
def test_requests_stay_within_both_limits_and_lose_nothing(counts: list[int], inputs: int, tokens: int) -> None:
    requests = pack(counts, inputs, tokens)
    assert [place for request in requests for place in request] == list(range(len(counts)))
    assert all(len(request) <= inputs for request in requests)
    assert all(sum(counts[place] for place in request) <= tokens for request in requests)


def test_requests_are_as_large_as_the_limits_allow() -> None:
    assert pack([1] * 5, 2, 100) == [[0, 1], [2, 3], [4]]
    assert pack([60, 40, 1, 99, 2], 10, 100) == [[0, 1], [2, 3], [4]]
    assert pack([500, 1], 10, 100) == [[0], [1]]
    assert pack([], 10, 100) == []


@given(st.text(max_size=400), st.integers(4, 60))
def test_parts_are_the_text_and_within_the_limit(text: str, limit: int) -> None:
    counter = ByteCounter()
    parts = counter.cut(text, limit)
    assert "".join(parts) == text
    assert all(counter.count(part) <= limit for part in parts)


def test_a_huge_text_is_cut_in_a_moment() -> None:
    parts = ByteCounter().cut("palavra " * 500_000, 8191)
    assert len(parts) < 400
    assert all(part.endswith(" ") for part in parts)


def test_other_models_are_estimated() -> None:
    assert token_counter("e5-query").exact is False


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> TiktokenCounter:
    """OpenAI's own tokens, from the table that llama-index-core brings along."""
    tiktoken = pytest.importorskip("tiktoken")
    core = pytest.importorskip("llama_index.core")
    tables = Path(core.__file__).parent / "_static" / "tiktoken_cache"
    if not tables.is_dir():
        pytest.skip("llama-index-core brings no table of tokens")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(tables))
        try:
            return TiktokenCounter(tiktoken.get_encoding("cl100k_base"))
        except OSError:
            pytest.skip("the table of cl100k_base is not there")


RANDOM = random.Random(5)
SAMPLES = [
    "A dispensa de licitação por valor é tratada no art. 75 da Lei nº 14.133/2021, § 2º.",
    "How many votes does a Proxmox cluster need to keep its quorum?",
    "1 2 3 4 5 6 7 8 9 10 11 12; 0,5% - R$ 1.234.567,89",
    "日本語のテキストと中文文本", "Привет, как дела?", "😀🎉🏳️‍🌈👩‍👩‍👧‍👦", "ção" * 50, "\n\n\t\t  \r\n" * 20,
    "".join(RANDOM.choices(string.ascii_letters, k=400)), "".join(RANDOM.choices(string.ascii_lowercase, k=400)),
    "".join(RANDOM.choices(string.ascii_letters + string.digits + "+/", k=400)),
    "".join(RANDOM.choices(string.punctuation, k=400)),
    "<|endoftext|> is text", "a b c d e f g h", "ẁẃẅ" * 30,
]  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_estimate_is_never_below_the_count(exact: TiktokenCounter, sample: str) -> None:
    assert ByteCounter().count(sample) >= exact.count(sample)


@pytest.mark.parametrize("sample", SAMPLES)
def test_exact_parts_are_the_text_and_within_the_limit(exact: TiktokenCounter, sample: str) -> None:
    long = f"{sample} " * 40
    parts = exact.cut(long, 64)
    assert "".join(parts) == long
    assert len(parts) > 1
    assert all(exact.count(part) <= 64 for part in parts)


def test_openais_models_are_counted_where_the_table_is(exact: TiktokenCounter) -> None:
    import llama_index.core

    tables = Path(llama_index.core.__file__).parent / "_static" / "tiktoken_cache"
    program = (
        "from limiar import OpenAIEncoder\n"
        "for model in ('text-embedding-3-small', 'text-embedding-3-large', 'text-embedding-ada-002'):\n"
        "    e = OpenAIEncoder(model).estimate(['hello world'] + ['lei ' * 200_000])\n"
        "    assert e.exact and e.split == (1,) and e.requests == 1, e\n"
        "    print(e.tokens, e.usd)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"TIKTOKEN_CACHE_DIR": str(tables), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert len(run.stdout.splitlines()) == 3
