"""The bundled encoder as an embedding model of both frameworks."""

import math
import threading

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import TextNode
from pydantic import ValidationError

from langchain_limiar import LimiarEmbeddings
from limiar.errors import ConfigurationError
from llama_index_limiar import LimiarEmbedding


class SpellingEncoder:
    """Letter counts as vectors: an encoder of the bundled one's shape, small enough to check by hand."""

    model_id = "tests/spelling"

    def __init__(self):
        self.batches = []
        self.threads = set()
        self.warmed = 0

    def embed_query(self, text):
        return self.embed_documents([text])[0]

    def embed_documents(self, texts, *, progress=None):
        self.batches.append(len(texts))
        self.threads.add(threading.current_thread().name)
        counts = np.array([[t.count(c) for c in "abc"] for t in texts], dtype=np.float32).reshape(len(texts), 3)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)

    def warm_up(self):
        self.warmed += 1


@pytest.fixture
def encoder():
    return SpellingEncoder()


async def test_langchain_gives_lists_of_python_floats(encoder):
    embeddings = LimiarEmbeddings(encoder=encoder)
    assert embeddings.embed_query("aab") == pytest.approx([2 / math.sqrt(5), 1 / math.sqrt(5), 0.0])
    assert embeddings.embed_documents(["a", "c"]) == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert type(embeddings.embed_query("a")[0]) is float
    assert type(embeddings.embed_documents(["a"])[0][0]) is float
    assert embeddings.embed_documents([]) == []
    assert await embeddings.aembed_query("aab") == embeddings.embed_query("aab")
    assert await embeddings.aembed_documents(["a", "c"]) == embeddings.embed_documents(["a", "c"])


async def test_langchain_async_runs_in_the_pool(encoder):
    await LimiarEmbeddings(encoder=encoder).aembed_query("a")
    await LimiarEmbeddings(encoder=encoder).aembed_documents(["a"])
    assert all(name.startswith("limiar") for name in encoder.threads)


def test_langchain_warm_up(encoder):
    LimiarEmbeddings(encoder=encoder).warm_up()
    assert encoder.warmed == 1


async def test_llama_index_gives_lists_of_python_floats(encoder):
    embedding = LimiarEmbedding(encoder=encoder)
    assert embedding.get_query_embedding("aab") == pytest.approx([2 / math.sqrt(5), 1 / math.sqrt(5), 0.0])
    assert embedding.get_text_embedding("c") == [0.0, 0.0, 1.0]
    assert type(embedding.get_query_embedding("a")[0]) is float
    assert embedding.get_text_embedding_batch(["a", "c"]) == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert embedding.get_text_embedding_batch([]) == []
    assert await embedding.aget_query_embedding("aab") == embedding.get_query_embedding("aab")
    assert await embedding.aget_text_embedding("c") == embedding.get_text_embedding("c")
    assert await embedding.aget_text_embedding_batch(["a", "c"]) == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


async def test_llama_index_respects_the_batch_size(encoder):
    embedding = LimiarEmbedding(encoder=encoder, embed_batch_size=2)
    embedding.get_text_embedding_batch(list("abcab"))
    assert encoder.batches == [2, 2, 1]
    encoder.batches.clear()
    await embedding.aget_text_embedding_batch(list("abcab"))
    assert sorted(encoder.batches) == [1, 2, 2]


async def test_llama_index_async_runs_in_the_pool(encoder):
    embedding = LimiarEmbedding(encoder=encoder)
    await embedding.aget_query_embedding("a")
    await embedding.aget_text_embedding("a")
    await embedding.aget_text_embedding_batch(["a"])
    assert all(name.startswith("limiar") for name in encoder.threads)


def test_llama_index_component(encoder):
    embedding = LimiarEmbedding(encoder=encoder, embed_batch_size=4)
    names_of_base_classes = [b.__name__ for b in LimiarEmbedding.__mro__]
    assert BaseEmbedding.__name__ in names_of_base_classes
    data = embedding.to_dict()
    assert data["class_name"] == "LimiarEmbedding"
    assert data["model_name"] == "tests/spelling"
    assert "encoder" not in str(data)
    embedding.to_json()
    again = LimiarEmbedding.from_dict(data, encoder=encoder)
    assert again.to_dict() == data
    assert again.embed_batch_size == 4
    embedding.warm_up()
    assert encoder.warmed == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"embed_batch_size": 0}, "embed_batch_size\n.*input_value=0"), ({"modle": "x"}, "modle\n.*Extra inputs")],
)
def test_llama_index_refuses_bad_parameters(encoder, fields, message):
    with pytest.raises(ValidationError, match=message):
        LimiarEmbedding(encoder=encoder, **fields)


@pytest.mark.parametrize("adapter", [LimiarEmbeddings, LimiarEmbedding])
def test_a_named_model_is_a_hugging_face_encoder(adapter):
    embeddings = adapter(model="a/b", pooling="cls", device="cpu")
    encoder = getattr(embeddings, "encoder", None) or embeddings._encoder
    assert (type(encoder).__name__, encoder.model_id, encoder.device) == ("HuggingFaceEncoder", "a/b:cls", "cpu")


@pytest.mark.parametrize("adapter", [LimiarEmbeddings, LimiarEmbedding])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "a/b", "encoder": SpellingEncoder()}, "model='a/b' and encoder=SpellingEncoder are both given"),
        ({"pooling": "cls"}, "pooling='cls' is for a named Hugging Face model"),
        ({"device": "cpu", "encoder": SpellingEncoder()}, "device='cpu' is for a named Hugging Face model"),
        ({"model": "a/b", "pooling": "max"}, "pooling='max'; expected one of: mean, cls"),
        ({"encoder": "a/b"}, "encoder is str; expected an object with embed_query and embed_documents"),
    ],
)
def test_contradictions_are_refused(adapter, given, message):
    with pytest.raises(ConfigurationError, match=message):
        adapter(**given)


def test_llama_index_restores_a_named_model():
    data = LimiarEmbedding(model="a/b", pooling="cls").to_dict()
    again = LimiarEmbedding.from_dict(data)
    assert again.to_dict() == data
    assert again._encoder.model_id == again.model_name == "a/b:cls"


@pytest.mark.parametrize("adapter", [LimiarEmbeddings, LimiarEmbedding])
async def test_progress_reaches_the_encoder(adapter):
    class Counting(SpellingEncoder):
        def embed_documents(self, texts, *, progress=None):
            if progress is not None:
                progress(len(texts), len(texts))
            return super().embed_documents(texts)

    seen = []
    embeddings = adapter(encoder=Counting(), progress=lambda *numbers: seen.append(numbers))
    embed = getattr(embeddings, "aembed_documents", None) or embeddings.aget_text_embedding_batch
    await embed(["a", "b"])
    assert seen == [(2, 2)]


def test_an_encoder_without_anything_to_load():
    class Bare:
        model_id, dimensions = "bare", 1
        embed_query = embed_documents = SpellingEncoder.embed_query

    LimiarEmbeddings(encoder=Bare()).warm_up()
    LimiarEmbedding(encoder=Bare()).warm_up()


def test_llama_index_hands_many_texts_over_at_once(encoder):
    LimiarEmbedding(encoder=encoder).get_text_embedding_batch(["a"] * 3000)
    assert encoder.batches == [2048, 952]


PASSAGES = [
    "A dispensa de licitação por valor é tratada no art. 75 da Lei nº 14.133/2021.",
    "O quórum do cluster Proxmox exige a maioria dos votos.",
    "Receita de bolo de cenoura com cobertura de chocolate.",
]
QUESTIONS = [("dispensa de licitação", 0), ("how many votes does a Proxmox cluster need?", 1), ("sobremesa", 2)]


async def test_the_bundled_encoder_in_both_frameworks():
    langchain, llama_index = LimiarEmbeddings(), LimiarEmbedding()
    assert langchain.encoder is llama_index._encoder
    assert llama_index.model_name == "limiar/e5-small-enpt"
    assert LimiarEmbedding.from_dict(llama_index.to_dict()).to_dict() == llama_index.to_dict()
    query, vectors = langchain.embed_query(QUESTIONS[0][0]), langchain.embed_documents(PASSAGES)
    assert {len(query), *map(len, vectors)} == {384}
    assert type(query[0]) is type(vectors[0][0]) is float
    assert [math.hypot(*v) for v in [query, *vectors]] == pytest.approx([1.0] * 4, abs=1e-5)
    same = pytest.approx(query, abs=1e-4)
    assert await langchain.aembed_query(QUESTIONS[0][0]) == same
    assert llama_index.get_query_embedding(QUESTIONS[0][0]) == same
    assert await llama_index.aget_query_embedding(QUESTIONS[0][0]) == same
    for vector, other, third in zip(
        vectors,
        llama_index.get_text_embedding_batch(PASSAGES),
        await langchain.aembed_documents(PASSAGES),
        strict=True,
    ):
        assert other == pytest.approx(vector, abs=1e-4)
        assert third == pytest.approx(vector, abs=1e-4)


@pytest.mark.parametrize(("question", "expected"), QUESTIONS)
async def test_the_bundled_encoder_in_a_vector_store(question, expected):
    store = InMemoryVectorStore(LimiarEmbeddings())
    await store.aadd_documents([Document(text, id=str(i)) for i, text in enumerate(PASSAGES)])
    assert store.similarity_search(question, k=1)[0].id == str(expected)
    index = VectorStoreIndex(
        [TextNode(id_=str(i), text=text) for i, text in enumerate(PASSAGES)], embed_model=LimiarEmbedding()
    )
    (found,) = await index.as_retriever(similarity_top_k=1).aretrieve(question)
    assert found.node_id == str(expected)
