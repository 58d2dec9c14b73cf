"""`LimiarRerank`: limiar as a LlamaIndex node postprocessor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle

from limiar.errors import InputError, InputTypeError
from limiar.inputs import check_members
from limiar.marks import marks, unmarked
from limiar.rerank import OnError, Reranker, RerankResult, ScoredDocument
from limiar.scoring.protocol import Scorer
from limiar.scoring.resolve import choose_scorer
from limiar.selection import DEFAULT_THRESHOLD, DEFAULT_TOP_K, FallbackPolicy
from llama_index_limiar.nodes import marked_copy

dispatcher = get_dispatcher(__name__)


class LimiarRerank(BaseNodePostprocessor):
    """Keeps the nodes that are relevant to the query, best first, by a threshold on a calibrated score.

    All nodes are scored and sorted by score, ties in incoming order; those with `score >= score_threshold` are kept
    and cut to `top_n`. If none passes, `fallback` says what comes back: fewer than `top_n` nodes is the normal case,
    one that did not pass is marked `relevance_passed=False`.

    The nodes returned are copies with the same id, class, relationships and metadata. `score` is the relevance score;
    their metadata gain, hidden from embedding and LLM text,

    - `relevance_score`: a float in [0, 1];
    - `relevance_logit`: the scorer's raw logit, if it has one;
    - `relevance_rank`: the rank before reranking, from 1;
    - `relevance_passed`: whether the score reaches the threshold;
    - `relevance_truncated`: True if the scorer could not read the text to its end, else absent;
    - `relevance_error`: in place of score and logit, the reason if the scorer failed and `on_error="original"`; the
      node then keeps its incoming score;
    - `retrieval_score`: the incoming score, if the node had one.

    Args:
        model: a Hugging Face cross-encoder by id or local path; None for the bundled Portuguese and English scorer.
            Loaded at its first use or by `warm_up()`.
        scorer: a `limiar.Scorer` object instead of a model. Not part of `to_dict()`: give it again, as in
            `from_dict(data, scorer=scorer)`.
        device: "cpu", "cuda", "cuda:0" ... for a named model.
        top_n: at most so many nodes; at least 1.
        score_threshold: in [0, 1], inclusive.
        fallback: "top1" (the best one), "empty", "original" (the first `top_n` as they came) or "raise".
        on_error: "raise" a scorer's failure, or return the first `top_n` in "original" order, marked.
        metadata_mode: which metadata are scored along with a node's content. NONE by default: the content alone is
            what LangChain scores too, so that the same passages get the same scores in both frameworks, and file
            names or dates cannot lift or sink a passage. An earlier rerank's marks are never scored.
        callback_manager: as for every postprocessor.

    Examples:
        `pip install 'limiar[llama-index]'`

        ```python
        from llama_index_limiar import LimiarRerank

        reranker = LimiarRerank(top_n=3, score_threshold=0.45)
        query_engine = index.as_query_engine(similarity_top_k=20, node_postprocessors=[reranker])
        ```
    """

    model: str | None = Field(default=None, frozen=True)
    scorer: Any = Field(default=None, frozen=True, exclude=True, repr=False)
    device: str | None = Field(default=None, frozen=True)
    top_n: int = Field(default=DEFAULT_TOP_K, ge=1, strict=True)
    score_threshold: float = Field(default=DEFAULT_THRESHOLD, ge=0, le=1, allow_inf_nan=False, strict=True)
    fallback: FallbackPolicy = "top1"
    on_error: OnError = "raise"
    metadata_mode: MetadataMode = MetadataMode.NONE

    _scorer: Scorer = PrivateAttr()

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", validate_assignment=True)

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        self._scorer = choose_scorer(self.model, self.scorer, device=self.device)

    @classmethod
    def class_name(cls) -> str:
        return "LimiarRerank"

    def warm_up(self) -> None:
        """Load the model now instead of at the first query."""
        self._core().warm_up()

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query, nodes, texts = self._translate_in(nodes, query_bundle)
        with self._reported(query, nodes) as report:
            return report(_translate_out(nodes, self._core().rerank(query, texts)))

    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query, nodes, texts = self._translate_in(nodes, query_bundle)
        with self._reported(query, nodes) as report:
            return report(_translate_out(nodes, await self._core().arerank(query, texts)))

    def _core(self) -> Reranker:
        """The reranker for the fields as they stand: they may be assigned after construction."""
        return Reranker(
            self._scorer,
            threshold=self.score_threshold,
            top_k=self.top_n,
            fallback=self.fallback,
            on_error=self.on_error,
        )

    def _translate_in(
        self, nodes: object, query_bundle: QueryBundle | None
    ) -> tuple[str, list[NodeWithScore], list[str]]:
        if query_bundle is None:
            msg = "LimiarRerank got no query; give query_bundle or query_str"
            raise InputError(msg)
        members = check_members(nodes, "nodes", NodeWithScore, "a list of NodeWithScore")
        checked = [_node_with_score(item, position) for position, item in enumerate(members)]
        return query_bundle.query_str, checked, [_text(item.node, self.metadata_mode) for item in checked]

    @contextmanager
    def _reported(
        self, query: str, nodes: list[NodeWithScore]
    ) -> Iterator[Callable[[list[NodeWithScore]], list[NodeWithScore]]]:
        """Tell both of LlamaIndex's event systems that a rerank starts, and on every path that it ended.

        Yields a function that takes the outcome to be reported, and returns it. Without one (a failure), the end event
        carries no nodes and the callback event the exception.
        """
        kept: list[NodeWithScore] = []
        model_name = self._scorer.model_id
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: model_name,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: self.top_n,
        }

        def report(outcome: list[NodeWithScore]) -> list[NodeWithScore]:
            kept.extend(outcome)
            event.on_end(payload={EventPayload.NODES: outcome})
            return outcome

        dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=self.top_n, model_name=model_name))
        try:
            with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
                yield report
        finally:
            dispatcher.event(ReRankEndEvent(nodes=kept))


def _translate_out(nodes: list[NodeWithScore], result: RerankResult) -> list[NodeWithScore]:
    return [_marked(nodes[kept.index], kept, result.error) for kept in result.kept]


def _marked(item: NodeWithScore, scored: ScoredDocument, error: str | None) -> NodeWithScore:
    """A copy that says how it was judged; the marks of an earlier rerank are replaced."""
    incoming = None if item.score is None else float(item.score)
    added = marks(scored, error)
    if incoming is not None:
        added["retrieval_score"] = incoming
    node = marked_copy(item.node, _unmarked(item.node.metadata), added)
    return item.model_copy(update={"node": node, "score": incoming if error is not None else scored.score})


def _unmarked(metadata: dict[str, Any]) -> dict[str, Any]:
    """A copy of `metadata` without what an earlier rerank added, the retrieval score included."""
    kept = unmarked(metadata)
    if "relevance_rank" in metadata:
        kept.pop("retrieval_score", None)
    return kept


def _text(node: BaseNode, mode: MetadataMode) -> str:
    if mode is not MetadataMode.NONE:
        node = node.model_copy(update={"metadata": _unmarked(node.metadata)})
    return node.get_content(metadata_mode=mode)


def _node_with_score(item: object, position: int) -> NodeWithScore:
    if not isinstance(item, NodeWithScore):
        msg = f"node {position} is {type(item).__name__}; expected a NodeWithScore"
        raise InputTypeError(msg)
    return item
