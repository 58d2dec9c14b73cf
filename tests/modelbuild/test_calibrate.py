"""Calibration on a small collection made of the demo corpus: the commands' real path, end to end."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from limiar.cli import main
from limiar.embeddings.bundled import shared_encoder
from limiar.errors import ConfigurationError, InputError
from limiar.evaluation.dataset import BUNDLED_DEMO
from limiar.modelbuild.calibrate import calibrate
from limiar.modelbuild.candidates import UNJUDGED, Candidates
from limiar.modelbuild.fit import fit, fold_of
from limiar.modelbuild.recipe import CollectionRecipe, load_recipe
from limiar.modelbuild.report import figures
from limiar.scoring.late_interaction import LateInteractionScorer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two collections of every other demo question each, and a recipe for them."""
    root = tmp_path_factory.mktemp("data")
    for part, name in enumerate(("even", "odd")):
        folder = root / name
        (folder / "qrels").mkdir(parents=True)
        shutil.copy(BUNDLED_DEMO / "corpus.jsonl", folder)
        shutil.copy(BUNDLED_DEMO / "queries.jsonl", folder)
        header, *rows = (BUNDLED_DEMO / "qrels.tsv").read_text(encoding="utf-8").splitlines()
        kept = [row for row in rows if int(row.split("\t")[0][1:]) % 2 == part]
        (folder / "qrels" / "dev.tsv").write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")
    entry = {
        "language": "pt", "splits": ["dev"], "pool": 10, "relevant_from": 1, "judged_only": False, "weight": 1.0,
    }  # fmt: skip
    recipe = {
        "seed": 0, "folds": 3, "centre_sample": 20, "foreign_questions": 0,
        "collections": [{"name": "even", **entry}, {"name": "odd", **entry}],
    }  # fmt: skip
    (root / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    return root


def test_the_command_writes_a_calibration_that_a_scorer_loads(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "calibration.json"
    arguments = ["model", "calibrate", "--data", str(data), "--recipe", str(data / "recipe.json"), "--out", str(out)]
    assert main(arguments) == 0
    assert "Cross-validated" in capsys.readouterr().out
    scorer = LateInteractionScorer(shared_encoder(), calibration=out)
    relevant, other = scorer.score("quórum do cluster", ["Sem quórum o cluster para.", "Bolo de cenoura."])
    assert relevant > other
    first = out.read_bytes()
    assert main(arguments) == 0
    assert out.read_bytes() == first


def test_every_question_is_scored_by_a_fit_that_never_saw_it(data: Path) -> None:
    recipe = load_recipe(data / "recipe.json")
    run = calibrate(data, recipe, shared_encoder())
    assert [row.name for row in run.cross_validated] == ["even", "odd"]
    for row in run.cross_validated:
        assert row.ndcg > row.ndcg_first_stage - 0.02
        assert row.calibration_error < 0.1


def entry(**changes: object) -> CollectionRecipe:
    values = {"name": "c", "language": "pt", "splits": ("dev",), "pool": 9, "relevant_from": 1, "judged_only": False}
    return CollectionRecipe(**{**values, "weight": 1.0, **changes})  # type: ignore[arg-type]


def candidates(grades: list[int], features: list[float], question: str = "q", **changes: object) -> Candidates:
    from limiar.evaluation.dataset import Question

    n = len(grades)
    return Candidates(
        entry(**changes), "dev", Question(question, "?", {}), "", np.arange(n), np.array(grades),
        -np.arange(n, dtype=float), np.ones(n, bool), np.column_stack([features, np.zeros(n), np.zeros(n)]),
    )  # fmt: skip


def test_the_fit_learns_the_order_and_the_share_of_relevant_pairs() -> None:
    rng = np.random.default_rng(0)
    gathered = []
    for number in range(200):
        values = rng.normal(size=10)
        relevant = (rng.random(10) < 1 / (1 + np.exp(-2 * values + 1))).astype(int)
        gathered.append(candidates(relevant.tolist(), values.tolist(), f"q{number}"))
    for c in gathered:
        c.features[:, 1:] = rng.normal(size=(10, 2))
    model = fit(gathered)
    assert model.weights[0] == pytest.approx(2, abs=0.35)
    assert np.abs(model.weights[1:]).max() < 0.3
    assert model.intercept == pytest.approx(-1, abs=0.3)


def test_unjudged_pairs_are_left_out_where_the_recipe_says_so() -> None:
    c = candidates([2, UNJUDGED, 0], [0.9, 0.99, 0.1], judged_only=True)
    assert c.usable.tolist() == [True, False, True]


def test_a_question_always_falls_into_the_same_fold() -> None:
    assert {fold_of(candidates([1, 0], [1, 0], "q7"), 5) for _ in range(3)} == {fold_of(candidates([1], [1], "q7"), 5)}


def test_figures_by_hand() -> None:
    gathered = [candidates([0, 1, 0, 0, 0, 0], [0] * 6, "q1"), candidates([0] * 6, [0] * 6, "q2")]
    logits = [np.array([-5.0, 5, -5, -5, -5, -5]), np.full(6, -5.0)]
    got = figures("c", gathered, logits)
    assert got.questions == 2
    assert got.ndcg == 0.5
    assert got.irrelevant_before == pytest.approx(9 / 10)
    assert got.irrelevant_after == 0.5
    assert got.reduction == pytest.approx(1 - 0.5 / 0.9)
    assert got.recall_ratio == 1.0
    assert got.calibration_error == pytest.approx(1 / (1 + np.exp(5)), abs=1e-9)


def test_a_missing_collection_and_a_bad_recipe_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="even"):
        calibrate(tmp_path, load_recipe(data / "recipe.json"), shared_encoder())
    bad = tmp_path / "recipe.json"
    bad.write_text('{"collections": [], "sed": 1}', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="not a readable recipe"):
        load_recipe(bad)


def test_info_shows_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "info"]) == 0
    shown = capsys.readouterr().out
    assert "maxsim" in shown
    assert "MIT" in shown


def test_build_command_on_a_missing_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "build", "--out", str(tmp_path), "--source", str(tmp_path / "none.bin")]) == 2
    assert "none.bin" in capsys.readouterr().err
