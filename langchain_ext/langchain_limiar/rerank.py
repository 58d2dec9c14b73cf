"""`LimiarRerank`: limiar as a LangChain document compressor."""

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePick
from pydantic import ConfigDict, Field, PrivateAttr

from langchain_limiar.documents import check_document, check_documents
from limiar.errors import InputError
from limiar.marks import marks, unmarked
from limiar.rerank import OnError, Reranker, RerankResult, ScoredDocument
from limiar.scoring.protocol import Scorer
from limiar.scoring.resolve import choose_scorer
from limiar.selection import DEFAULT_THRESHOLD, DEFAULT_TOP_K, FallbackPolicy


class LimiarRerank(BaseDocumentCompressor):
    """Keeps the documents that are relevant to the query, best first, by a threshold on a calibrated score.

    All documents are scored and sorted by score, ties in incoming order; those with `score >= score_threshold` are
    kept and cut to `top_n`. If none passes, `fallback` says what comes back: fewer than `top_n` documents is the
    normal case, one that did not pass is marked `relevance_passed=False`.

    The documents returned are copies with the same id, class and metadata, plus

    - `relevance_score`: a float in [0, 1];
    - `relevance_logit`: the scorer's raw logit, if it has one;
    - `relevance_rank`: the rank before reranking, from 1;
    - `relevance_passed`: whether the score reaches the threshold;
    - `relevance_truncated`: True if the scorer could not read the text to its end, else absent;
    - `relevance_error`: in place of score and logit, the reason if the scorer failed and `on_error="original"`.

    Setup:
        ```bash
        pip install 'limiar[langchain]'
        ```

    Key init args:
        model: a Hugging Face cross-encoder by id or local path; None for the bundled Portuguese and English scorer.
            Loaded at its first use or by `warm_up()`.
        scorer: a `limiar.Scorer` object instead of a model; not part of `model_dump()`.
        device: "cpu", "cuda", "cuda:0" ... for a named model.
        top_n: at most so many documents; at least 1.
        score_threshold: in [0, 1], inclusive.
        fallback: "top1" (the best one), "empty", "original" (the first `top_n` as they came) or "raise".
        on_error: "raise" a scorer's failure, or return the first `top_n` in "original" order, marked.

    Instantiate:
        ```python
        from langchain_limiar import LimiarRerank

        reranker = LimiarRerank(top_n=3, score_threshold=0.45)
        ```

    Usage:
        ```python
        from langchain_core.documents import Document

        documents = [Document("Receita de bolo"), Document("Perder o quórum para o cluster")]
        reranker.compress_documents(documents, "o que acontece sem quórum?")
        ```

    Use within a chain:
        ```python
        from langchain_core.runnables import RunnablePassthrough

        relevant = {"query": RunnablePassthrough(), "documents": retriever} | reranker.as_runnable()
        chain = {"context": relevant, "question": RunnablePassthrough()} | prompt | llm
        chain.invoke("o que acontece sem quórum?")
        ```

        It also serves as `base_compressor` of `langchain_classic`'s `ContextualCompressionRetriever`. Each rerank is a
        trace node of its own, named LimiarRerank, whose output carries all scores and the threshold.
    """

    model: str | None = Field(default=None, frozen=True)
    scorer: Any = Field(default=None, frozen=True, exclude=True, repr=False)
    device: str | None = Field(default=None, frozen=True)
    top_n: int = Field(default=DEFAULT_TOP_K, ge=1, strict=True)
    score_threshold: float = Field(default=DEFAULT_THRESHOLD, ge=0, le=1, allow_inf_nan=False, strict=True)
    fallback: FallbackPolicy = "top1"
    on_error: OnError = "raise"

    _scorer: Scorer = PrivateAttr()

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", validate_assignment=True)

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        self._scorer = choose_scorer(self.model, self.scorer, device=self.device)

    def warm_up(self) -> None:
        """Load the model now instead of at the first query."""
        self._core().warm_up()

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> list[Document]:
        """The relevant documents, best first, as copies with scores in their metadata.

        Args:
            documents: in the order of the first stage; never changed.
            query: non-blank text.
            callbacks: those of the run that this rerank belongs to.

        Raises:
            InputError: the query is blank.
            InputTypeError: the query is not a string, or `documents` not a sequence of `Document`.
            ScoringError: the scorer failed and `on_error="raise"`.
            NothingRelevantError: nothing passed and the fallback is "raise".
        """
        outcome = self._traced().invoke({"query": query, "documents": documents}, config={"callbacks": callbacks})
        return list(outcome["documents"])

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> list[Document]:
        """`compress_documents` in limiar's bounded thread pool."""
        request = {"query": query, "documents": documents}
        outcome = await self._traced().ainvoke(request, config={"callbacks": callbacks})
        return list(outcome["documents"])

    def rerank(
        self, documents: Sequence[str | Document], query: str, *, top_n: int | None = None
    ) -> list[dict[str, Any]]:
        """What `compress_documents` keeps, as positions in the input.

        Args:
            documents: texts or documents.
            query: non-blank text.
            top_n: replaces the reranker's own for this call.

        Returns:
            `{"index": int, "relevance_score": float}` for each kept document, best first. The score is None if the
            scorer failed and `on_error="original"`.
        """
        chosen = self
        if top_n is not None:
            chosen = self.model_copy()
            chosen.top_n = top_n
        texts = [
            item if isinstance(item, str) else check_document(item, position).page_content
            for position, item in enumerate(check_documents(documents, "documents"))
        ]
        result = chosen._core().rerank(query, texts)  # noqa: SLF001
        return [{"index": kept.index, "relevance_score": kept.score} for kept in result.kept]

    def as_runnable(self) -> Runnable[dict[str, Any], list[Document]]:
        """The reranker as a step of a chain, from `{"query": str, "documents": list[Document]}` to what is relevant."""
        return self._traced() | RunnablePick("documents")

    def _core(self) -> Reranker:
        """The reranker for the fields as they stand: they may be assigned after construction."""
        return Reranker(
            self._scorer,
            threshold=self.score_threshold,
            top_k=self.top_n,
            fallback=self.fallback,
            on_error=self.on_error,
        )

    def _traced(self) -> RunnableLambda[dict[str, Any], dict[str, Any]]:
        def rerank(request: dict[str, Any]) -> dict[str, Any]:
            query, documents, texts = _translate_in(request)
            return _translate_out(documents, self._core().rerank(query, texts))

        async def arerank(request: dict[str, Any]) -> dict[str, Any]:
            query, documents, texts = _translate_in(request)
            return _translate_out(documents, await self._core().arerank(query, texts))

        return RunnableLambda(rerank, arerank, name="LimiarRerank")


def _translate_in(request: dict[str, Any]) -> tuple[str, list[Document], list[str]]:
    if not isinstance(request, dict) or not {"query", "documents"} <= request.keys():
        shown = sorted(map(str, request)) if isinstance(request, dict) else type(request).__name__
        msg = f"the input of LimiarRerank has {shown}; expected a dict with 'query' and 'documents'"
        raise InputError(msg)
    documents = [
        check_document(item, position)
        for position, item in enumerate(check_documents(request["documents"], "documents"))
    ]
    return request["query"], documents, [document.page_content for document in documents]


def _translate_out(documents: list[Document], result: RerankResult) -> dict[str, Any]:
    """The documents, and what a trace should show of how they came about."""
    ranked = (*result.kept, *result.dropped)
    return {
        "documents": [_marked(documents[kept.index], kept, result.error) for kept in result.kept],
        "kept": len(result.kept),
        "threshold": result.threshold,
        "fell_back": result.fell_back,
        "model": result.model_id,
        "error": result.error,
        "scores": [{"index": d.index, "relevance_score": d.score, "relevance_passed": d.passed} for d in ranked],
    }


def _marked(document: Document, scored: ScoredDocument, error: str | None) -> Document:
    """A copy that says how it was judged; the marks of an earlier rerank are replaced."""
    return document.model_copy(update={"metadata": {**unmarked(document.metadata), **marks(scored, error)}})
