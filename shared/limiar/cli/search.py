"""`limiar search`: asks an index, and shows where each answer comes from."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limiar.cli.encoders import add_encoder_options, check_encoder, chosen_encoder
from limiar.cli.terminal import DEFAULT_FOLDER, output_console, plain, quiet_log, say
from limiar.errors import ConfigurationError, InputError
from limiar.inputs import encodable
from limiar.retrieval.checks import check_count

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from limiar import Analyzer, HybridHit, HybridResult

_ARMS = ("bm25", "dense")
_RERANKED = 50
_READ, _SHOWN = 2_000, 280
_WORD = re.compile(r"\w(?:\S*\w)?")
_FILTER_EXAMPLE = '{"year": {"$gte": 2020}}'


@dataclass(frozen=True)
class _Answer:
    """A document found. `relevance` in [0, 1] and `passed` are None unless it was reranked."""

    hit: HybridHit
    relevance: float | None = None
    passed: bool | None = None


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `search`."""
    parser = commands.add_parser(
        "search",
        help="ask an index",
        description="Asks an index by words and by meaning, and shows each document's place in both.",
    )
    parser.add_argument("query", help="what to look for")
    parser.add_argument(
        "--index", type=Path, default=Path(DEFAULT_FOLDER), metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument("-k", type=int, default=10, metavar="N", help="at most N documents (default: %(default)s)")
    parser.add_argument("--filter", metavar="JSON", help=f"by metadata, such as '{_FILTER_EXAMPLE}'")
    parser.add_argument("--arms", metavar="NAME,...", help=f"ask these only (default: {','.join(_ARMS)})")
    parser.add_argument(
        "--index-on",
        choices=("text", "keywords", "both"),
        help="the texts, the words that `limiar expand` wrote, or both as one (default: the richest the index has)",
    )
    parser.add_argument(
        "--fusion", choices=("rrf", "relative", "distribution"), default="relative", help="default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with the whole documents")
    _add_reranking(parser.add_argument_group("reranking"))
    add_encoder_options(parser)
    parser.set_defaults(run=_search)


def _add_reranking(group: argparse._ArgumentGroup) -> None:
    from limiar.selection import DEFAULT_THRESHOLD

    group.add_argument("--rerank", action="store_true", help="order by relevance, a probability, and mark what passes")
    group.add_argument(
        "--threshold", type=float, default=DEFAULT_THRESHOLD, metavar="X", help="what passes (default: %(default)s)"
    )
    group.add_argument(
        "--candidates", type=int, default=_RERANKED, metavar="N", help="documents to rerank (default: %(default)s)"
    )


def _search(args: argparse.Namespace) -> int:
    from limiar import Analyzer, HybridIndex

    where, weights = _filter(args.filter), _weights(args.arms)
    encoder = check_encoder(args.index, chosen_encoder(args.encoder, args.pooling))
    depth = max(args.k, check_count("--candidates", args.candidates)) if args.rerank else args.k
    with quiet_log(), HybridIndex.open(args.index, read_only=True, encoder=encoder) as index:
        result = index.search(
            args.query,
            depth,
            filter=where,
            index_on=args.index_on,
            weights=weights,
            fusion=args.fusion,
            on_error="skip",
        )
        analyzer = Analyzer(index.stats().language)
    for arm, reason in result.skipped.items():
        say(f"warning: without {arm} ({reason}); see: limiar index verify {args.index}")
    answers = _reranked(result, args) if args.rerank else [_Answer(hit) for hit in result.hits]
    if args.json:
        _print_lines(answers)
    elif answers:
        arms = [arm for arm in _ARMS if weights.get(arm, 1.0) and arm not in result.skipped]
        output_console().print(_table(answers, arms, set(analyzer(args.query)), analyzer))
    else:
        say("nothing found")
    return 0


def _filter(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        where = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"--filter {text[:80]!r} is no JSON; expected an object such as {_FILTER_EXAMPLE}"
        raise InputError(msg) from error
    if not isinstance(where, dict):
        msg = f"--filter {text[:80]!r} is no JSON object; expected one such as {_FILTER_EXAMPLE}"
        raise InputError(msg)
    return where


def _weights(text: str | None) -> dict[str, float]:
    """Weight 0 for the arms that are not named."""
    named = list(_ARMS) if text is None else [name.strip() for name in text.split(",")]
    if not set(named) <= set(_ARMS):
        msg = f"--arms {text!r}; expected one or both of {', '.join(_ARMS)}"
        raise ConfigurationError(msg)
    return {arm: float(arm in named) for arm in _ARMS}


def _reranked(result: HybridResult, args: argparse.Namespace) -> list[_Answer]:
    """The `k` most relevant, those that do not pass the threshold included."""
    from limiar import Reranker

    reranker = Reranker(threshold=args.threshold, top_k=args.k, fallback="empty")
    ranked = reranker.rerank(args.query, [_whole(hit) for hit in result.hits])
    everything = (*ranked.kept, *ranked.dropped)
    return [_Answer(result.hits[it.index], it.score, it.passed) for it in everything[: args.k]]


def _whole(hit: HybridHit) -> str:
    """What the vector is of: all fields."""
    return "\n".join(text for text in hit.document.fields.values() if text.strip())


# For people


def _table(answers: Sequence[_Answer], arms: Sequence[str], terms: AbstractSet[str], analyzer: Analyzer) -> Table:
    from rich.table import Table

    reranked = answers[0].relevance is not None
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 1, 0))
    for name in ("#", *(("relevance",) if reranked else ()), "fused", *arms):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("document", ratio=1)
    for rank, answer in enumerate(answers, 1):
        found = [answer.hit.fused.arms.get(arm) for arm in arms]
        table.add_row(
            str(rank),
            *((_relevance(answer),) if reranked else ()),
            f"{answer.hit.fused.score:.4f}",
            *(
                "-" if it is None else f"#{it.rank} {'' if it.score is None else format(it.score, '.3f')}"
                for it in found
            ),
            _document(answer.hit, terms, analyzer),
        )
    return table


def _relevance(answer: _Answer) -> Text:
    from rich.text import Text

    verdict, style = ("passes", "green") if answer.passed else ("fails", "red")
    return Text(f"{answer.relevance:.3f} {verdict}", style=style)


def _document(hit: HybridHit, terms: AbstractSet[str], analyzer: Analyzer) -> Text:
    """The id, the title and the beginning of the text, with the query's words marked."""
    from rich.text import Text

    title, text = (plain(hit.document.fields.get(name, "")[:_READ]) for name in ("title", "text"))
    shown = Text(plain(hit.document.id), style="bold")
    for line, style in ((title, "italic"), (_beginning(text), "")):
        if line:
            shown.append("\n").append(_marked(Text(line, style=style), terms, analyzer))
    return shown


def _beginning(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN].rsplit(' ', 1)[0]} ..."


def _marked(line: Text, terms: AbstractSet[str], analyzer: Analyzer) -> Text:
    for word in _WORD.finditer(line.plain):
        if not terms.isdisjoint(analyzer(word.group())):
            line.stylize("bold yellow", *word.span())
    return line


# For programs


def _print_lines(answers: Sequence[_Answer]) -> None:
    """In UTF-8, as JSON is, whatever the terminal speaks."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="strict")
    for rank, answer in enumerate(answers, 1):
        sys.stdout.write(encodable(json.dumps(_object(rank, answer), ensure_ascii=False, default=str)) + "\n")


def _object(rank: int, answer: _Answer) -> dict[str, Any]:
    document, fused = answer.hit.document, answer.hit.fused
    arms = {arm: {"rank": found.rank, "score": found.score} for arm, found in fused.arms.items()}
    reranked = {} if answer.relevance is None else {"relevance": answer.relevance, "passed": answer.passed}
    return {
        "rank": rank,
        "id": document.id,
        **reranked,
        "fused_score": fused.score,
        "arms": arms,
        "fields": dict(document.fields),
        "metadata": dict(document.metadata),
        **({"generated": dict(document.generated)} if document.generated else {}),
    }
