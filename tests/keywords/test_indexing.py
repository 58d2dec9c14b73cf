"""From a store into an index, and the offline generator through a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("chromadb")
pytest.importorskip("tantivy")

from limiar import (
    ConfigurationError,
    Expander,
    Expansion,
    ExpansionReport,
    ExpansionStore,
    FunctionChat,
    HybridIndex,
    IndexDocument,
    IndexTexts,
    InputTypeError,
    Keyword,
    OfflineExpander,
    OfflineGenerator,
    Outcome,
    Recipe,
    apply_expansions,
)

RECIPE = Recipe("fake", "{}", "", "")
LAWS = [
    IndexDocument("art75", {"title": "Dispensa", "text": "É dispensável a licitação de pequeno valor."}),
    IndexDocument("quorum", {"text": "Sem quórum, o cluster recusa gravações."}),
    IndexDocument("vazio", {"title": " ", "text": ""}),
]
TEXTS = ["Dispensa\nÉ dispensável a licitação de pequeno valor.", "Sem quórum, o cluster recusa gravações.", ""]
OBRAS = [
    "A ponte sobre o rio teve a obra suspensa por falta de projeto executivo.",
    "O projeto executivo da ponte foi aprovado com o orçamento da obra.",
    "O orçamento da obra da rodovia excede o preço de referência.",
    "A rodovia foi entregue sem sinalização, segundo o fiscal da obra.",
]


class Lengths:
    """An encoder that needs no model."""

    model_id = "lengths"
    dimensions = 2

    def embed_query(self, text: str) -> np.ndarray:
        return self.embed_documents([text])[0]

    def embed_documents(self, texts: list[str], *, progress: object = None) -> np.ndarray:
        return np.array([[1.0, len(text)] for text in texts], np.float32).reshape(-1, 2)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[HybridIndex]:
    made = HybridIndex.create(
        tmp_path / "index", fields=("title", "text"), views=("text", "keywords"), encoder=Lengths()
    )
    with made as index:
        index.add(LAWS)
        yield index


def generated(index: HybridIndex) -> dict[str, dict[str, str]]:
    return {it.id: dict(it.generated) for it in index.get(index.ids()) if it.generated}


def one(term: str) -> Outcome:
    return Outcome("done", Expansion((Keyword(term),)))


# Texts


def test_a_text_is_what_the_dense_arm_embeds(index: HybridIndex) -> None:
    texts = IndexTexts(index)
    assert len(texts) == 3
    assert list(texts) == list(texts) == list(zip(("art75", "quorum", "vazio"), TEXTS, strict=True))
    embedded = [index.schema.texts(it).get("text", "") for it in index.get(index.ids())]
    assert [text for _, text in texts] == embedded
    assert texts.text("quorum") == TEXTS[1]
    assert texts.text("nada") is None


def test_many_batches_are_read_in_order(index: HybridIndex) -> None:
    index.add(IndexDocument(str(n), {"text": f"Item {n}"}) for n in range(1_200))
    assert [it for it, _ in IndexTexts(index)] == index.ids()


# Into the index


def test_an_expander_runs_over_an_index(index: HybridIndex, store: ExpansionStore) -> None:
    answer = '{"keywords": [{"term": "licitação", "synonyms": ["certame"]}]}'
    expander = Expander(FunctionChat(lambda _: answer, "same"), store)
    report = expander.run(IndexTexts(index))
    assert (report.total, report.done, report.empty) == (3, 2, 1)
    applied = apply_expansions(index, store, expander.recipe)
    assert (applied.replaced, applied.unchanged) == (2, 1)
    assert [hit.document.id for hit in index.search("certame", index_on="keywords", weights={"dense": 0}).hits] != []
    assert generated(index)["quorum"] == {"keywords": "licitação certame"}


def test_only_what_is_usable_of_the_present_text_is_taken(index: HybridIndex, store: ExpansionStore) -> None:
    store.put(RECIPE, TEXTS[0], one("certame"))
    store.put(RECIPE, TEXTS[1], Outcome("failed", raw="sinto muito"))
    store.put(Recipe("other", "{}", "", ""), TEXTS[1], one("agrupamento"))
    apply_expansions(index, store, RECIPE)
    assert generated(index) == {"art75": {"keywords": "certame"}}
    index.add([IndexDocument("art75", {"text": "Revogado."})])
    apply_expansions(index, store, RECIPE)
    assert generated(index) == {}


def test_what_a_recipe_lacks_is_taken_out_again(index: HybridIndex, store: ExpansionStore) -> None:
    store.put(RECIPE, TEXTS[0], one("certame"))
    apply_expansions(index, store, RECIPE)
    store.edit(RECIPE, TEXTS[1], Expansion((Keyword("agrupamento", ("nós",)),), ("Quantos nós?",), "Maioria."))
    report = apply_expansions(index, store, RECIPE)
    assert (report.replaced, report.unchanged) == (1, 2)
    assert generated(index)["quorum"] == {
        "keywords": "agrupamento nós", "questions": "Quantos nós?", "statement": "Maioria."
    }  # fmt: skip
    kept = apply_expansions(index, store, Recipe.imported(), clear=False)
    assert (kept.replaced, kept.unchanged) == (0, 3)
    assert set(generated(index)) == {"art75", "quorum"}
    apply_expansions(index, store, Recipe.imported())
    assert generated(index) == {}


def test_progress_counts_over_all_batches(index: HybridIndex, store: ExpansionStore) -> None:
    index.add(IndexDocument(str(n), {"text": f"Item {n}"}) for n in range(700))
    seen: list[tuple[int, int | None]] = []
    apply_expansions(index, store, RECIPE, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert (seen[0], seen[-1]) == ((0, 703), (703, 703))


def test_an_index_without_the_view_is_refused(tmp_path: Path, store: ExpansionStore) -> None:
    with (
        HybridIndex.create(tmp_path / "plain", encoder=Lengths()) as index,
        pytest.raises(ConfigurationError, match="no view of generated texts"),
    ):
        apply_expansions(index, store, RECIPE)


# Without a language model


@pytest.fixture
def offline(store: ExpansionStore) -> OfflineExpander:
    return OfflineExpander(OfflineGenerator(terms=3, related=0, encoder=Lengths()), store)


def test_offline_words_are_what_the_generator_says(offline: OfflineExpander, store: ExpansionStore) -> None:
    documents = [(str(n), text) for n, text in enumerate(OBRAS)]
    report = offline.run(documents)
    assert (report.total, report.seen, report.done, report.calls) == (4, 4, 4, 0)
    expected = OfflineGenerator(terms=3, related=0, encoder=Lengths()).fit(OBRAS).generate_all(OBRAS)
    kept = store.usable(offline.recipe, OBRAS)
    assert [[(it.term, list(it.synonyms)) for it in expansion.keywords] for expansion in kept] == expected
    assert store.of_document("2", offline.recipe)[0].outcome.status == "done"


def test_offline_reuses_limits_and_keeps_edits(offline: OfflineExpander, store: ExpansionStore) -> None:
    documents = [*((str(n), text) for n, text in enumerate(OBRAS)), ("vazio", " ")]
    assert offline.run(documents, limit=1).done == 1
    estimate = offline.estimate(documents)
    assert (estimate.documents, estimate.known, estimate.calls) == (5, 1, 0)
    store.edit(offline.recipe, OBRAS[1], Expansion((Keyword("viaduto"),)))
    reports: list[ExpansionReport] = []
    last = offline.run(documents, progress=reports.append)
    assert (last.done, last.empty, last.reused) == (2, 1, 2)
    assert reports[-1] == last
    assert store.usable(offline.recipe, [OBRAS[1]])[0].keywords == (Keyword("viaduto"),)


def test_what_is_known_is_not_learned_again(offline: OfflineExpander) -> None:
    documents = list(enumerate(OBRAS))
    pairs = [(str(n), text) for n, text in documents]
    offline.run(pairs)
    learned: list[int] = []
    offline.run(pairs, learning=lambda done, _: learned.append(done))
    assert learned == []


def test_the_recipe_tells_encoders_and_numbers_apart(store: ExpansionStore) -> None:
    generators = [
        OfflineGenerator(),
        OfflineGenerator(encoder=Lengths()),
        OfflineGenerator(terms=9),
        OfflineGenerator(language="en"),
    ]
    assert len({OfflineExpander(it, store).recipe.fingerprint for it in generators}) == 4


def test_documents_that_can_be_read_once_only_are_refused(offline: OfflineExpander) -> None:
    with pytest.raises(ConfigurationError, match="iterator"):
        offline.run(iter([("1", OBRAS[0])]))
    with pytest.raises(InputTypeError):
        offline.run(OBRAS)
