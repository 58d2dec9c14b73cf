"""The bundled scorer on its real model."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from limiar.embeddings.bundled import MAX_WINDOWS, BundledEncoder, shared_encoder
from limiar.embeddings.model_files import BUNDLED_MODEL_DIR, CALIBRATION, ENCODER_BIN, TOKENIZER
from limiar.errors import ConfigurationError, InputError, ModelDamagedError, ModelNotFoundError
from limiar.rerank import Reranker
from limiar.scoring.late_interaction import LateInteractionScorer
from limiar.scoring.resolve import bundled_scorer

QUERY = "Como o Proxmox evita que duas máquinas escrevam no mesmo disco?"
RELEVANT = "O fencing do Proxmox desliga o nó isolado, para que duas máquinas não escrevam no mesmo disco."
OTHER = "A receita de bolo de cenoura leva quatro ovos, farinha e óleo."
FILLER = "O regimento interno trata de férias, diárias e da escala de plantão dos servidores. "


@pytest.fixture
def scorer() -> LateInteractionScorer:
    return LateInteractionScorer(shared_encoder())


@pytest.fixture
def broken_model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED_MODEL_DIR, folder)
    return folder


def test_relevant_passage_passes_and_foreign_one_does_not(scorer: LateInteractionScorer) -> None:
    result = Reranker(scorer).rerank(QUERY, [OTHER, RELEVANT])
    assert [document.index for document in result.kept] == [1]
    assert result.kept[0].passed
    assert result.dropped[0].score < 0.05


@pytest.mark.parametrize(
    ("query", "passages"),
    [
        ("quórum", ["Sem quórum o cluster para.", "O servidor tem direito a férias."]),
        ("what happens without quorum?", ["Without quorum the cluster stops.", "Civil servants have annual leave."]),
        ("limite de aditivo contratual", ["O aditivo contratual tem limite de 25%.", "A ata vale por um ano."]),
    ],
)
def test_orders_in_both_languages(scorer: LateInteractionScorer, query: str, passages: list[str]) -> None:
    relevant, other = scorer.score(query, passages)
    assert relevant > other + 1


def test_a_score_does_not_depend_on_its_company(scorer: LateInteractionScorer) -> None:
    texts = [RELEVANT, OTHER, FILLER, RELEVANT + " " + FILLER]
    together = scorer.score(QUERY, texts)
    scorer.cache.clear()
    alone = [scorer.score(QUERY, [text])[0] for text in reversed(texts)][::-1]
    assert together == pytest.approx(alone, abs=0.05)


def test_cached_and_fresh_scores_are_the_same(scorer: LateInteractionScorer) -> None:
    texts = [RELEVANT, OTHER, FILLER]
    fresh = scorer.score(QUERY, texts)
    assert len(scorer.cache) == 3
    assert scorer.score(QUERY, texts) == fresh


def test_duplicates_are_encoded_once_and_score_the_same(scorer: LateInteractionScorer) -> None:
    first, second, third = scorer.score(QUERY, [RELEVANT, OTHER, RELEVANT])
    assert first == third != second
    assert len(scorer.cache) == 2


def test_without_a_cache_nothing_is_kept() -> None:
    scorer = LateInteractionScorer(shared_encoder(), cache_mb=0)
    assert scorer.score(QUERY, [RELEVANT]) == pytest.approx(scorer.score(QUERY, [RELEVANT]), abs=1e-6)
    assert (len(scorer.cache), scorer.cache.n_bytes) == (0, 0)


def test_the_cache_stays_within_its_bound_and_forgets_the_oldest() -> None:
    scorer = LateInteractionScorer(shared_encoder(), cache_mb=0.05)
    texts = [f"{number}: {FILLER}" for number in range(20)]
    scorer.score(QUERY, texts)
    assert 0 < len(scorer.cache) < 20
    assert scorer.cache.n_bytes <= 50_000
    held = len(scorer.cache)
    scorer.score(QUERY, texts[-1:])
    assert len(scorer.cache) == held


def test_preload_reports_progress_and_fills_the_cache(scorer: LateInteractionScorer) -> None:
    seen: list[tuple[int, int]] = []
    scorer.preload([RELEVANT, OTHER], lambda done, total: seen.append((done, total)))
    assert seen == [(2, 2)]
    assert len(scorer.cache) == 2


def test_an_answer_at_the_end_of_a_long_passage_is_found(scorer: LateInteractionScorer) -> None:
    long = FILLER * 150 + RELEVANT
    scores = scorer.score(QUERY, [long, FILLER * 150])
    assert scores[0] > scores[1] + 2
    assert scores.truncated == frozenset()


def test_a_very_long_passage_is_read_in_part_and_reported(scorer: LateInteractionScorer) -> None:
    endless = FILLER * (5_000_000 // len(FILLER))
    scores = scorer.score(QUERY, [OTHER, endless, RELEVANT])
    assert scores.truncated == {1}
    assert scores[2] > scores[1]
    assert len(scorer.encoder.tokenize(endless).windows) == MAX_WINDOWS


def test_ten_thousand_passages(scorer: LateInteractionScorer) -> None:
    texts = [f"item {number % 50}" for number in range(10_000)]
    texts[7777] = RELEVANT
    result = Reranker(scorer, top_k=1).rerank(QUERY, texts)
    assert result.kept[0].index == 7777
    assert len(result.dropped) == 9_999


@pytest.mark.parametrize(
    "text", ["😀🚀", "\ud800 solto \udfff", "مرحبا بالعالم", "\u200b", "\x00\x07", "?", "a" * 50_000]
)
def test_odd_passages_have_finite_scores(scorer: LateInteractionScorer, text: str) -> None:
    odd, relevant = scorer.score(QUERY, [text, RELEVANT])
    assert np.isfinite(odd)
    assert odd < relevant


@pytest.mark.parametrize("query", ["😀", "\ud800", "مرحبا", "?", "\u200b", "de a o", "C++"])
def test_odd_queries_have_finite_scores(scorer: LateInteractionScorer, query: str) -> None:
    assert np.isfinite(scorer.score(query, [RELEVANT, OTHER])).all()


def test_a_query_beyond_the_encoder_is_refused(scorer: LateInteractionScorer) -> None:
    with pytest.raises(InputError, match=r"the query has 1000000 characters.*shorten it"):
        scorer.score("quorum " * (1_000_000 // 7) + "q" * (1_000_000 % 7), [RELEVANT])


def test_accents_missing_from_the_query_cost_little(scorer: LateInteractionScorer) -> None:
    passages = ["A dispensa de licitação tem limites de valor.", OTHER]
    relevant, other = scorer.score("dispensa de licitacao limite de valor", passages)
    assert relevant > 0 > other


def test_threads_share_one_model_and_agree(scorer: LateInteractionScorer) -> None:
    expected = scorer.score(QUERY, [RELEVANT, OTHER])
    results: list[list[float]] = []

    def work() -> None:
        results.extend(scorer.score(QUERY, [RELEVANT, OTHER]) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 30
    assert all(result == expected for result in results)


def test_the_process_wide_scorer_is_one() -> None:
    assert bundled_scorer() is bundled_scorer()


@pytest.mark.parametrize("cache_mb", [-1, float("nan"), "big", True])
def test_a_bad_cache_size_is_refused(cache_mb: object) -> None:
    with pytest.raises(ConfigurationError, match="cache_mb="):
        LateInteractionScorer(cache_mb=cache_mb)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [ENCODER_BIN, TOKENIZER])
def test_a_damaged_file_is_named(broken_model: Path, name: str) -> None:
    path = broken_model / name
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelDamagedError, match=rf"{name} is missing or damaged; reinstall limiar"):
        LateInteractionScorer(BundledEncoder(broken_model)).warm_up()


def test_a_flipped_bit_is_noticed(broken_model: Path) -> None:
    path = broken_model / ENCODER_BIN
    data = bytearray(path.read_bytes())
    data[20_000_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelDamagedError, match=ENCODER_BIN):
        BundledEncoder(broken_model).warm_up()


def test_a_missing_folder_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="limiar model build"):
        BundledEncoder(tmp_path).warm_up()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "not json", "not a readable calibration"),
        (lambda text: text.replace('"weights": [', '"weights": [NaN, '), "does not hold 3 finite weights"),
        (lambda text: text.replace('"encoder": "', '"encoder": "0'), "fitted with another encoder"),
        (lambda text: text.replace('"intercept"', '"intercepts"'), "not a readable calibration"),
    ],
)
def test_a_damaged_calibration_is_refused(broken_model: Path, change, message: str) -> None:
    path = broken_model / CALIBRATION
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ModelDamagedError, match=message):
        LateInteractionScorer(BundledEncoder(broken_model)).warm_up()


def test_a_missing_calibration_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="limiar model calibrate"):
        LateInteractionScorer(shared_encoder(), calibration=tmp_path / "none.json").warm_up()


def test_scoring_sends_nothing_and_leaves_the_home_folder_alone(tmp_path: Path) -> None:
    """OpenVINO's usage report stays off; the socket module is watched for anything else."""
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise SystemExit('a connection was tried')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from limiar import get_relevant_docs\n"
        "get_relevant_docs('quórum', ['Sem quórum o cluster para.'])\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    subprocess.run([sys.executable, "-c", code], check=True, env={**environment, "HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []
