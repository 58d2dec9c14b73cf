"""LangChain's own standard tests for retrievers, unmodified, on `HybridRetriever`."""

import pytest

pytest.importorskip("langchain_tests")

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests

from langchain_limiar import HybridRetriever


class Listed(BaseRetriever):
    ids: list[str]

    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(id=name, page_content=f"{query} {name}") for name in self.ids]


class TestHybridRetrieverStandard(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self):
        return HybridRetriever

    @property
    def retriever_constructor_params(self):
        return {"retrievers": {"bm25": Listed(ids=["a", "b", "c"]), "dense": Listed(ids=["d", "b", "a"])}}

    @property
    def retriever_query_example(self):
        return "dispensa de licitação"
