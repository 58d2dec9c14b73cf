"""Input that nobody should send, through both adapters: a defined result, or an error that names the value."""

import shutil
import subprocess
import sys
import textwrap

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from langchain_limiar import LimiarRerank as LangChainRerank
from limiar.embeddings.bundled import BundledEncoder
from limiar.embeddings.model_files import BUNDLED_MODEL_DIR, ENCODER_BIN
from limiar.errors import InputError, InputTypeError, ModelDamagedError, ModelNotFoundError
from limiar.scoring.late_interaction import LateInteractionScorer
from limiar.scoring.resolve import bundled_scorer
from limiar.testing import KeywordScorer
from llama_index_limiar import LimiarRerank as LlamaIndexRerank

QUERY = "ceph quorum"


class Adapter:
    def __init__(self, framework, *, is_async):
        self.framework = framework
        self.is_async = is_async

    def passage(self, text):
        return Document(text) if self.framework == "langchain" else NodeWithScore(node=TextNode(text=text))

    async def raw(self, passages, query=QUERY, **fields):
        """Whatever the caller hands in, as it is."""
        fields.setdefault("scorer", KeywordScorer())
        if self.framework == "langchain":
            reranker = LangChainRerank(**fields)
            if self.is_async:
                return await reranker.acompress_documents(passages, query)
            return reranker.compress_documents(passages, query)
        reranker = LlamaIndexRerank(**fields)
        if self.is_async:
            return await reranker.apostprocess_nodes(passages, query_str=query)
        return reranker.postprocess_nodes(passages, query_str=query)

    async def __call__(self, texts, query=QUERY, **fields):
        """(text, score, passed) of what is kept."""
        kept = await self.raw([self.passage(text) for text in texts], query, **fields)
        return [
            (
                k.page_content if self.framework == "langchain" else k.text,
                k.metadata["relevance_score"],
                k.metadata["relevance_passed"],
            )
            for k in kept
        ]


@pytest.fixture(params=["langchain-sync", "langchain-async", "llama_index-sync", "llama_index-async"])
def adapter(request):
    framework, mode = request.param.split("-")
    return Adapter(framework, is_async=mode == "async")


async def test_no_documents(adapter):
    assert await adapter([]) == []
    assert await adapter.raw(()) == []


async def test_one_document(adapter):
    assert await adapter(["Ceph quorum"]) == [("Ceph quorum", 1.0, True)]


@pytest.mark.parametrize("blank", ["", " ", "\n\t\u00a0"])
async def test_blank_documents(adapter, blank):
    assert await adapter([blank]) == [(blank, 0.0, False)]
    assert await adapter([blank, "ceph quorum"]) == [("ceph quorum", 1.0, True)]


@pytest.mark.parametrize(("item", "name"), [(None, "NoneType"), ("text", "str"), (7, "int"), ({"text": "a"}, "dict")])
async def test_a_member_of_the_wrong_type(adapter, item, name):
    with pytest.raises(InputTypeError, match=rf"(document|node) 1 is {name}; expected a ") as caught:
        await adapter.raw([adapter.passage("ceph"), item])
    assert isinstance(caught.value, TypeError)


async def test_the_passages_of_the_other_kind(adapter):
    other = NodeWithScore(node=TextNode(text="a")) if adapter.framework == "langchain" else Document("a")
    with pytest.raises(InputTypeError, match=r"(document|node) 0 is (NodeWithScore|Document); expected a "):
        await adapter.raw([other])


@pytest.mark.parametrize(("passages", "name"), [(None, "NoneType"), ("text", "str"), (7, "int"), (b"text", "bytes")])
async def test_no_list_at_all(adapter, passages, name):
    with pytest.raises(InputTypeError, match=rf"(documents|nodes) is {name}; expected a "):
        await adapter.raw(passages)


async def test_a_single_passage_instead_of_a_list(adapter):
    with pytest.raises(InputTypeError, match=r"is (Document|NodeWithScore); expected a "):
        await adapter.raw(adapter.passage("a"))


async def test_a_generator_is_read_once(adapter):
    kept = await adapter.raw(adapter.passage(text) for text in ["Cake", "Ceph quorum"])
    assert len(kept) == 1


async def test_a_tuple(adapter):
    assert len(await adapter.raw((adapter.passage("Ceph quorum"),))) == 1


async def test_the_same_object_twice(adapter):
    passage = adapter.passage("Ceph quorum")
    first, second = await adapter.raw([passage, passage])
    assert (first.metadata["relevance_rank"], second.metadata["relevance_rank"]) == (1, 2)
    assert passage.metadata == {}


async def test_duplicates(adapter):
    kept = await adapter(["Ceph quorum", "Cake", "Ceph quorum"])
    assert kept == [("Ceph quorum", 1.0, True)] * 2


async def test_a_passage_of_5_mb(adapter):
    huge = "ceph quorum " * (5 * 1024 * 1024 // 12)
    assert await adapter(["Cake", huge]) == [(huge, 1.0, True)]


async def test_10_000_passages(adapter):
    texts = [f"Ceph note {i}" for i in range(9_999)] + ["Ceph quorum"]
    kept = await adapter(texts, top_n=2)
    assert kept == [("Ceph quorum", 1.0, True), ("Ceph note 0", 0.5, True)]


@pytest.mark.parametrize(
    "text",
    [
        "ceph quorum 🐙👩‍👩‍👧",
        "ceph quorum \ud83d",
        "\udc00 ceph quorum",
        "ceph quorum مرحبا بالعالم",
        "\u202eceph quorum\u202c",
        "ceph\x00 quorum",
    ],
)
async def test_odd_characters_come_back_as_they_were(adapter, text):
    assert await adapter(["Cake", text]) == [(text, 1.0, True)]


@pytest.mark.parametrize("text", ["quórum 🐙", "quórum \ud83d", "مرحبا بالعالم", "\x00", "👍"])
async def test_odd_characters_with_the_bundled_scorer(adapter, text):
    ((kept, score, _),) = await adapter([text], query=f"o que é {text}?", scorer=bundled_scorer())
    assert kept == text
    assert 0.0 <= score <= 1.0


@pytest.mark.parametrize("query", ["", " ", "\n"])
async def test_a_blank_query(adapter, query):
    with pytest.raises(InputError, match=r"the query is '.*'; expected text to look for"):
        await adapter(["a"], query=query)
    with pytest.raises(InputError, match="expected text to look for"):
        await adapter([], query=query)


async def test_bad_input_is_not_a_failing_scorer(adapter):
    with pytest.raises(InputError):
        await adapter(["a"], query="", on_error="original")


@pytest.mark.parametrize(("query", "name"), [(None, "NoneType"), (7, "int 7")])
async def test_a_query_of_the_wrong_type(query, name):
    with pytest.raises(InputTypeError, match=f"the query is {name}; expected a string"):
        LangChainRerank(scorer=KeywordScorer()).compress_documents([Document("a")], query)


@pytest.mark.parametrize("value", [0, -1])
async def test_top_n_out_of_range(adapter, value):
    with pytest.raises(ValueError, match=rf"top_n\n.*input_value={value}"):
        await adapter(["a"], top_n=value)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
async def test_threshold_out_of_range(adapter, value):
    with pytest.raises(ValueError, match=rf"score_threshold\n.*input_value={value}"):
        await adapter(["a"], score_threshold=value)


@pytest.mark.parametrize("value", [0, 0.0, 1, 1.0])
async def test_thresholds_at_the_bounds(adapter, value):
    kept = await adapter(["Cake", "Ceph quorum"], score_threshold=value)
    assert kept[0] == ("Ceph quorum", 1.0, True)
    assert len(kept) == (2 if value == 0 else 1)


@pytest.mark.parametrize(
    ("package", "framework", "extra"),
    [("langchain_limiar", "langchain_core", "langchain"), ("llama_index_limiar", "llama_index", "llama-index")],
)
def test_without_the_framework_the_error_says_what_to_install(package, framework, extra):
    script = f"""
        import sys
        sys.modules[{framework!r}] = None
        from limiar.errors import MissingExtraError
        try:
            import {package}
        except MissingExtraError as error:
            print(error, "|", error.extra)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == f"{package} needs an optional dependency: pip install 'limiar[{extra}]' | {extra}"


@pytest.mark.parametrize("package", ["langchain_limiar", "llama_index_limiar"])
def test_another_missing_module_is_not_blamed_on_the_framework(package):
    script = f"import sys; sys.modules['limiar.selection'] = None; import {package}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "MissingExtraError" not in done.stderr
    assert "limiar.selection" in done.stderr


async def test_a_model_that_does_not_exist_says_what_to_do(adapter, tmp_path):
    missing = str(tmp_path / "no-such-model")
    with pytest.raises(ModelNotFoundError, match=r"no-such-model.*there is no such folder"):
        await adapter(["text"], scorer=None, model=missing)


async def test_a_damaged_model_names_the_file(adapter, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED_MODEL_DIR, folder)
    path = folder / ENCODER_BIN
    path.write_bytes(path.read_bytes()[:1_000_000])
    with pytest.raises(ModelDamagedError, match=rf"{ENCODER_BIN} is missing or damaged; reinstall limiar"):
        await adapter(["text"], scorer=LateInteractionScorer(BundledEncoder(folder)))
