"""LangChain's own standard tests for retrievers and document indexes, unmodified, over a `HybridIndex`."""

import pytest

pytest.importorskip("langchain_tests")

from index_corpus import DOCUMENTS, WordEncoder
from langchain_tests.integration_tests import RetrieversIntegrationTests
from langchain_tests.integration_tests.indexer import AsyncDocumentIndexTestSuite, DocumentIndexerTestSuite

from langchain_limiar import HybridDocumentIndex, HybridRetriever
from limiar import HybridIndex


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    with HybridIndex.create(tmp_path_factory.mktemp("index") / "i", encoder=WordEncoder()) as index:
        index.add(DOCUMENTS)
        yield index


class OverAnIndex(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _index(self, filled):
        self.filled = filled

    @property
    def retriever_constructor_params(self):
        return {"index": self.filled}

    @property
    def retriever_query_example(self):
        return "licitação"


class TestHybridRetrieverOverAnIndex(OverAnIndex):
    @property
    def retriever_constructor(self):
        return HybridRetriever


class TestHybridDocumentIndexAsRetriever(OverAnIndex):
    @property
    def retriever_constructor(self):
        return HybridDocumentIndex


class TestHybridDocumentIndex(DocumentIndexerTestSuite):
    @pytest.fixture
    def index(self, tmp_path):
        with HybridIndex.create(tmp_path / "i", encoder=WordEncoder()) as index:
            yield HybridDocumentIndex(index=index)


class TestHybridDocumentIndexAsync(AsyncDocumentIndexTestSuite):
    @pytest.fixture
    async def index(self, tmp_path):
        with HybridIndex.create(tmp_path / "i", encoder=WordEncoder()) as index:
            yield HybridDocumentIndex(index=index)
