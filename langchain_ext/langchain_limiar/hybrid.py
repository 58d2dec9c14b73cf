"""`HybridRetriever`: a `HybridIndex`, or two or more LangChain retrievers, asked together and fused."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams, RetrieverLike
from pydantic import ConfigDict, Field

from langchain_limiar.documents import found_documents
from limiar.errors import ConfigurationError, InputTypeError
from limiar.retrieval.arms import OnArmError
from limiar.retrieval.ensemble import Candidate, Ensemble, EnsembleResult, FusedItem, named_arms, native_score
from limiar.retrieval.fusion import DEFAULT_RRF_K, FusionMethod
from limiar.retrieval.hybrid_index import DEFAULT_CANDIDATES, HybridIndex
from limiar.retrieval.index_options import IndexSearch, check_source
from limiar.retrieval.provenance import fusion_marks, without_fusion_marks


class HybridRetriever(BaseRetriever):
    """Asks a `limiar.HybridIndex`, or two or more retrievers, in parallel and fuses what they find.

    The documents returned are copies with the same id, class and metadata, of the arm that ranks the document best
    (the first such arm), plus

    - `fused_score`: a float, comparable within one result only;
    - `retrieval`: by arm name, `{"rank": int, "score": float | None}`, for the arms that found the document;
    - `retrieval_skipped`: by arm name, why it was left out; absent if none was.

    From an index come its original texts. Fields of it other than "text" are in the metadata under their names, where
    the document has no metadata of that name.

    Setup:
        ```bash
        pip install 'limiar[langchain]'             # retrievers
        pip install 'limiar[bm25,chroma,langchain]' # an index
        ```

    Key init args:
        index: a `limiar.HybridIndex`, whose arms are "bm25" and "dense"; or else
        retrievers: name to retriever, or a list (then named "arm1", "arm2", ...). Any runnable from a query to
            documents, so also what `with_config` or `with_retry` return.
        k: at most so many documents come back; `invoke(query, k=...)` replaces it for one call.
        weights: by arm name, or a list in the arms' order; 1 for arms not named. A document that only zero-weight
            arms found is not returned.
        fusion: "rrf" needs ranks only; "relative" and "distribution" need scores: an index has them, for retrievers
            see `score_key`. None for "relative" over an index and "rrf" over retrievers.
        rrf_k: the constant of "rrf".
        timeout: seconds that each arm may take. Sync, and in an index, a late arm's thread works on unnoticed until it
            returns, and holds up the end of the program for a second at most; async, a late retriever is cancelled.
        on_error: "raise" `ArmError` for an arm that fails or is late, or "skip" it, marked and logged. When no arm is
            left it always raises.

    Key init args with an index:
        filter: only documents whose metadata pass, as in `{"year": {"$gte": 2020}}`: see `limiar.retrieval.filters`.
            `invoke(query, filter=...)` replaces it for one call, `filter={}` lifts it.
        index_on: the view to search, "text", "keywords" or "both", for both arms or by arm name; None for the richest
            that the index has.
        candidates: how many each arm brings; at least `k`.
        field_weights: BM25 field to weight.

    Key init args with retrievers, each of which sets itself how many documents it brings:
        id_key: the metadata key that says which documents are the same. A document without it, or every one if
            `id_key` is None, is known by `Document.id`, and one without an id by its text.
        score_key: the metadata key in which the arms' documents carry their score, for all arms or by arm name.
        drop_zero: the arms, usually BM25, whose hits with a score of zero or below are no hits.

    Instantiate:
        ```python
        from langchain_limiar import HybridRetriever
        from limiar import HybridIndex

        retriever = HybridRetriever(index=HybridIndex.open("my_index", read_only=True), k=10)
        retriever = HybridRetriever(
            retrievers={"bm25": bm25, "dense": store.as_retriever(search_kwargs={"k": 100})},
            weights={"dense": 0.7, "bm25": 0.3},
            k=10,
            timeout=2.0,
            on_error="skip",
        )
        ```

    Usage:
        ```python
        retriever.invoke("dispensa de licitação por valor")
        await retriever.ainvoke("dispensa de licitação por valor", k=3, filter={"year": 2020})
        ```

    Use within a chain:
        ```python
        from langchain_core.runnables import RunnablePassthrough

        chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | llm
        ```

        Each retriever is a child run of its own, named after it. `hybrid_rerank` adds a reranker in one call.
    """

    retrievers: dict[str, RetrieverLike] | list[RetrieverLike] | None = None
    index: HybridIndex | None = None
    k: int = Field(default=4, ge=1, strict=True)
    filter: dict[str, Any] | None = None
    index_on: str | dict[str, str] | None = None
    candidates: int = Field(default=DEFAULT_CANDIDATES, ge=1, strict=True)
    weights: dict[str, float] | list[float] | None = None
    field_weights: dict[str, float] | None = None
    fusion: FusionMethod | None = None
    rrf_k: int = Field(default=DEFAULT_RRF_K, ge=1, strict=True)
    id_key: str | None = None
    score_key: str | dict[str, str] | None = None
    drop_zero: list[str] = Field(default_factory=list)
    timeout: float | None = None
    on_error: OnArmError = "raise"

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", validate_assignment=True)

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        if self._search() is not None:
            return
        ensemble = self._core()
        if isinstance(self.score_key, Mapping) and not self.score_key.keys() <= set(ensemble.names):
            msg = f"score_key={self.score_key!r} names no arm; the arms are: {', '.join(ensemble.names)}"
            raise ConfigurationError(msg)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002
    ) -> list[Document]:
        limit = self.k if k is None else k
        if search := self._search(filter):
            return found_documents(search.run(query, limit, filter))

        def asking(name: str, retriever: RetrieverLike) -> list[Candidate[Document]]:
            config = {"callbacks": run_manager.get_child(f"arm:{name}"), "run_name": name}
            return self._candidates(name, retriever.invoke(query, config))  # type: ignore[arg-type]

        arms = {name: partial(asking, name, retriever) for name, retriever in self._retrievers().items()}
        return _translate_out(self._core().run(arms, limit=limit))

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002
    ) -> list[Document]:
        limit = self.k if k is None else k
        if search := self._search(filter):
            return found_documents(await search.arun(query, limit, filter))

        async def asking(name: str, retriever: RetrieverLike) -> list[Candidate[Document]]:
            config = {"callbacks": run_manager.get_child(f"arm:{name}"), "run_name": name}
            return self._candidates(name, await retriever.ainvoke(query, config))  # type: ignore[arg-type]

        arms = {name: partial(asking, name, retriever) for name, retriever in self._retrievers().items()}
        return _translate_out(await self._core().arun(arms, limit=limit))

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        return LangSmithRetrieverParams(**{**super()._get_ls_params(**kwargs), "ls_retriever_name": "limiar_hybrid"})

    def _search(self, of_call: dict[str, Any] | None = None) -> IndexSearch | None:
        """The search for the fields as they stand: they may be assigned after construction. None over retrievers."""
        options = {
            "filter": self.filter if of_call is None else of_call,
            "index_on": self.index_on,
            "candidates": self.candidates,
            "field_weights": self.field_weights,
            "drop_zero": self.drop_zero,
            "id_key": self.id_key,
            "score_key": self.score_key,
        }
        check_source(self.index, self.retrievers, options)
        if self.index is None:
            return None
        shared = {
            "filter": self.filter,
            "index_on": self.index_on,
            "candidates": self.candidates,
            "weights": self.weights,
            "field_weights": self.field_weights,
            "fusion": self.fusion,
            "rrf_k": self.rrf_k,
            "timeout": self.timeout,
            "on_error": self.on_error,
        }
        return self._index_search(self.index, shared)

    def _index_search(self, index: HybridIndex, options: dict[str, Any]) -> IndexSearch:
        return IndexSearch(index, **options)

    def _retrievers(self) -> dict[str, RetrieverLike]:
        return named_arms(self.retrievers or {})

    def _core(self) -> Ensemble:
        """The ensemble for the fields as they stand."""
        return Ensemble(
            list(self._retrievers()),
            weights=self.weights,
            fusion="rrf" if self.fusion is None else self.fusion,
            rrf_k=self.rrf_k,
            drop_zero=self.drop_zero,
            timeout=self.timeout,
            on_error=self.on_error,
        )

    def _candidates(self, arm: str, documents: object) -> list[Candidate[Document]]:
        if not isinstance(documents, list | tuple):
            msg = f"arm {arm!r} returned {type(documents).__name__}; expected a list of Document"
            raise InputTypeError(msg)
        key = self.score_key.get(arm) if isinstance(self.score_key, dict) else self.score_key
        return [self._candidate(arm, document, key) for document in documents]

    def _candidate(self, arm: str, document: object, score_key: str | None) -> Candidate[Document]:
        if not isinstance(document, Document):
            msg = f"arm {arm!r} returned a {type(document).__name__}; expected a langchain_core Document"
            raise InputTypeError(msg)
        score = None if score_key is None else native_score(document.metadata.get(score_key))
        return Candidate(self._identity(document), score, document)

    def _identity(self, document: Document) -> str:
        key = None if self.id_key is None else document.metadata.get(self.id_key)
        if key is not None:
            return f"key:{key}"
        return f"text:{document.page_content}" if document.id is None else f"id:{document.id}"


def _translate_out(result: EnsembleResult[Document]) -> list[Document]:
    return [_marked(fused, result.skipped) for fused in result.items]


def _marked(fused: FusedItem[Document], skipped: Mapping[str, str]) -> Document:
    """A copy that says how it was found; the marks of an earlier fusion are replaced."""
    document = fused.item
    metadata = {**without_fusion_marks(document.metadata), **fusion_marks(fused.hit, skipped)}
    return document.model_copy(update={"metadata": metadata})
