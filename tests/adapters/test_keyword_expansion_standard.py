"""LangChain's own standard tests for retrievers, unmodified, over generated texts and by reworded queries."""

import json

import pytest

pytest.importorskip("langchain_tests")

from index_corpus import DOCUMENTS, WordEncoder
from langchain_tests.integration_tests import RetrieversIntegrationTests

from langchain_limiar import KeywordExpansionRetriever
from limiar import FunctionChat, HybridIndex, QueryExpander

ANSWER = json.dumps({"keywords": [{"term": "licitação", "synonyms": ["certame"]}], "questions": ["O que é um edital?"]})


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("index") / "i"
    with HybridIndex.create(folder, views=("text", "both"), encoder=WordEncoder()) as index:
        index.add(DOCUMENTS)
        index.set_generated({document.id: {"keywords": "certame edital"} for document in DOCUMENTS})
        yield index


class TestKeywordExpansionRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _index(self, filled):
        self.filled = filled
        self.expander = QueryExpander(FunctionChat(lambda _: ANSWER, "example"), timeout=60.0)

    @property
    def retriever_constructor(self):
        return KeywordExpansionRetriever

    @property
    def retriever_constructor_params(self):
        return {"index": self.filled, "expander": self.expander}

    @property
    def retriever_query_example(self):
        return "licitação"

    def test_it_is_the_reworded_search_that_is_tested(self):
        retriever = KeywordExpansionRetriever(**self.retriever_constructor_params)
        (first, *_) = retriever.invoke(self.retriever_query_example)
        assert {"variant 1", "variant 2"} <= first.metadata["retrieval"].keys()
