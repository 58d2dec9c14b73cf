"""`HybridRetriever`: two or more LangChain retrievers asked together and fused."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams, RetrieverLike
from pydantic import ConfigDict, Field

from limiar.errors import ConfigurationError, InputTypeError
from limiar.retrieval.arms import OnArmError
from limiar.retrieval.ensemble import Candidate, Ensemble, EnsembleResult, FusedItem, named_arms, native_score
from limiar.retrieval.fusion import DEFAULT_RRF_K, FusionMethod
from limiar.retrieval.provenance import fusion_marks, without_fusion_marks


class HybridRetriever(BaseRetriever):
    """Asks two or more retrievers in parallel and fuses what they find.

    The documents returned are copies with the same id, class and metadata, of the arm that ranks the document best
    (the first such arm), plus

    - `fused_score`: a float, comparable within one result only;
    - `retrieval`: by arm name, `{"rank": int, "score": float | None}`, for the arms that found the document;
    - `retrieval_skipped`: by arm name, why it was left out; absent if none was.

    Setup:
        ```bash
        pip install 'limiar[langchain]'
        ```

    Key init args:
        retrievers: name to retriever, or a list (then named "arm1", "arm2", ...). Any runnable from a query to
            documents, so also what `with_config` or `with_retry` return.
        weights: by arm name, or a list in the arms' order; 1 for arms not named. A document that only zero-weight
            arms found is not returned.
        k: at most so many documents come back; `invoke(query, k=...)` replaces it for one call. How many each arm
            brings is the arm's own setting.
        fusion: "rrf" needs ranks only; "relative" and "distribution" need scores, see `score_key`.
        rrf_k: the constant of "rrf".
        id_key: the metadata key that says which documents are the same. A document without it, or every one if
            `id_key` is None, is known by `Document.id`, and one without an id by its text.
        score_key: the metadata key in which the arms' documents carry their score, for all arms or by arm name.
        drop_zero: the arms, usually BM25, whose hits with a score of zero or below are no hits.
        timeout: seconds that each arm may take. Sync, a late arm's thread works on unnoticed until it returns, and
            holds up the end of the program for a second at most; async, a late arm is cancelled.
        on_error: "raise" `ArmError` for an arm that fails or is late, or "skip" it, marked and logged. When no arm is
            left it always raises.

    Instantiate:
        ```python
        from langchain_limiar import HybridRetriever

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
        await retriever.ainvoke("dispensa de licitação por valor", k=3)
        ```

    Use within a chain:
        ```python
        from langchain_core.runnables import RunnablePassthrough

        chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | llm
        ```

        Each arm is a child run of its own, named after it. `hybrid_rerank` adds a reranker in one call.
    """

    retrievers: dict[str, RetrieverLike] | list[RetrieverLike]
    weights: dict[str, float] | list[float] | None = None
    k: int = Field(default=4, ge=1, strict=True)
    fusion: FusionMethod = "rrf"
    rrf_k: int = Field(default=DEFAULT_RRF_K, ge=1, strict=True)
    id_key: str | None = None
    score_key: str | dict[str, str] | None = None
    drop_zero: list[str] = Field(default_factory=list)
    timeout: float | None = None
    on_error: OnArmError = "raise"

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", validate_assignment=True)

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        ensemble = self._core()
        if isinstance(self.score_key, Mapping) and not self.score_key.keys() <= set(ensemble.names):
            msg = f"score_key={self.score_key!r} names no arm; the arms are: {', '.join(ensemble.names)}"
            raise ConfigurationError(msg)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        def asking(name: str, retriever: RetrieverLike) -> list[Candidate[Document]]:
            config = {"callbacks": run_manager.get_child(f"arm:{name}"), "run_name": name}
            return self._candidates(name, retriever.invoke(query, config))  # type: ignore[arg-type]

        arms = {name: partial(asking, name, retriever) for name, retriever in named_arms(self.retrievers).items()}
        return _translate_out(self._core().run(arms, limit=self.k if k is None else k))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        async def asking(name: str, retriever: RetrieverLike) -> list[Candidate[Document]]:
            config = {"callbacks": run_manager.get_child(f"arm:{name}"), "run_name": name}
            return self._candidates(name, await retriever.ainvoke(query, config))  # type: ignore[arg-type]

        arms = {name: partial(asking, name, retriever) for name, retriever in named_arms(self.retrievers).items()}
        return _translate_out(await self._core().arun(arms, limit=self.k if k is None else k))

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        return LangSmithRetrieverParams(**{**super()._get_ls_params(**kwargs), "ls_retriever_name": "limiar_hybrid"})

    def _core(self) -> Ensemble:
        """The ensemble for the fields as they stand: they may be assigned after construction."""
        return Ensemble(
            list(named_arms(self.retrievers)),
            weights=self.weights,
            fusion=self.fusion,
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
