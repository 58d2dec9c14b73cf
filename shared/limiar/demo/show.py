"""How the demo looks: one exchange, one line for each question of the set, and the table at the end."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from limiar.demo.index import Hit
from limiar.demo.measure import Latency, Measurements, Outcome
from limiar.demo.options import FIRST_STAGE_TOP
from limiar.demo.pipeline import Exchange
from limiar.evaluation.dataset import Passage
from limiar.rerank import ScoredDocument
from limiar.selection import SelectionPolicy

WIDTH = 100
NOTHING_RELEVANT = "I found nothing relevant / Não encontrei nada relevante"
_BAR_CELLS = 8
_QUESTION_WIDTH = 56


def demo_console(*, no_color: bool) -> Console:
    """A console of at most 100 columns on standard output; without control characters unless that is a terminal."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter shows "?" instead of failing
    width = min(Console().width, WIDTH) if sys.stdout.isatty() else WIDTH
    return Console(width=width, color_system=None if no_color else "auto", markup=False, highlight=False, emoji=False)


@contextmanager
def progress_bar(console: Console, label: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar that takes (done, total) and leaves nothing behind; only on a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def plain(text: str) -> str:
    """`text` without control characters other than line ends: a question or an answer cannot drive the terminal."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))


def heading(console: Console, text: str) -> None:
    """A line across, with a title."""
    console.print()
    console.print(Rule(Text(plain(text), style="bold"), align="left", characters="─"))


def note(console: Console, text: str, style: str = "") -> None:
    """Plain words."""
    console.print(Text(plain(text), style=style))


# One exchange


def show_exchange(
    console: Console, exchange: Exchange, policy: SelectionPolicy, relevant: frozenset[str] | None = None
) -> None:
    """The question, Chroma's top 5 beside limiar's verdicts (+ kept, - dropped), and what became of the others.

    Args:
        console: where.
        exchange: what happened.
        policy: what limiar was told to keep.
        relevant: the ids judged relevant; None where nobody judged.
    """
    console.print(Text.assemble(("Question: ", "bold"), plain(exchange.question)))
    console.print()
    console.print(_comparison(exchange, policy, relevant))
    note(console, _rest(exchange, policy), "dim")


def _comparison(exchange: Exchange, policy: SelectionPolicy, relevant: frozenset[str] | None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("Chroma", justify="right", no_wrap=True)
    table.add_column("cosine", justify="right", no_wrap=True)
    table.add_column("passage", ratio=1, no_wrap=True, overflow="ellipsis")
    if relevant is not None:
        table.add_column("judged", no_wrap=True)
    table.add_column("limiar", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    documents = _documents(exchange)
    for hit in (*exchange.nearest, *_shown_below(exchange)):
        document = documents.get(hit.passage.id)
        verdict, style = _verdict(exchange, document, policy)
        judged = [] if relevant is None else [_judged(hit.passage, relevant)]
        rank = Text(f"#{hit.rank}" if hit.rank else "-", style="" if hit in exchange.nearest else "dim")
        title = Text(plain(hit.passage.title or hit.passage.id), style=style)
        cosine = Text("-" if hit.cosine is None else f"{hit.cosine:.2f}", style="dim")
        score = Text("") if document is None else _score_bar(document, policy, style)
        table.add_row(rank, cosine, title, *judged, score, Text(verdict, style=style))
    return table


def _documents(exchange: Exchange) -> dict[str, ScoredDocument]:
    """What limiar says of each candidate, by the passage's id."""
    documents = (*exchange.result.kept, *exchange.result.dropped)
    return {_id(exchange, document): document for document in documents}


def _id(exchange: Exchange, document: ScoredDocument) -> str:
    return exchange.candidates[document.index].passage.id


def _shown_below(exchange: Exchange) -> list[Hit]:
    """The candidates outside Chroma's top that limiar kept or could have kept, in Chroma's order."""
    documents, above = _documents(exchange), {hit.passage.id for hit in exchange.nearest}
    below = [hit for hit in exchange.candidates if hit.passage.id not in above]
    shown = [
        hit for hit in below if documents[hit.passage.id].passed or documents[hit.passage.id] in exchange.result.kept
    ]
    return sorted(shown, key=lambda hit: hit.rank or sys.maxsize)


def _verdict(exchange: Exchange, document: ScoredDocument | None, policy: SelectionPolicy) -> tuple[str, str]:
    if document is None:
        return "- no candidate", "red"
    score = _score_text(document, policy)
    if document in exchange.result.kept:
        if not document.passed:
            return f"! fallback, {score} < {policy.threshold:g}", "yellow"
        return f"+ kept as [{exchange.result.kept.index(document) + 1}]", "green"
    if document.passed:
        return f"- over top_k {policy.top_k}", "red"
    return f"- {score} < {policy.threshold:g}", "red"


def _judged(passage: Passage, relevant: frozenset[str]) -> Text:
    return Text("relevant", style="green") if passage.id in relevant else Text("-", style="dim")


def _score_bar(document: ScoredDocument, policy: SelectionPolicy, style: str) -> Text:
    score = document.score or 0.0
    filled = round(score * _BAR_CELLS)
    bar = "█" * filled + "░" * (_BAR_CELLS - filled)
    return Text.assemble((bar, style), f" {_score_text(document, policy)}")


def _score_text(document: ScoredDocument, policy: SelectionPolicy) -> str:
    """Two decimals, or as many as it takes to be on the right side of the threshold."""
    score = document.score or 0.0
    for digits in range(2, 10):
        if (round(score, digits) >= policy.threshold) == document.passed:
            return f"{score:.{digits}f}"
    return repr(score)


def _rest(exchange: Exchange, policy: SelectionPolicy) -> str:
    kept, total = exchange.result.kept, len(exchange.candidates)
    passed = sum(document.passed for document in (*kept, *exchange.result.dropped))
    above = {hit.passage.id for hit in exchange.nearest}
    unseen = [d for d in exchange.result.dropped if not d.passed and _id(exchange, d) not in above]
    parts = [f"Of {total} candidates {passed} reached {policy.threshold:g}; limiar returns {len(kept)}."]
    if unseen:
        best = _score_text(unseen[0], policy)
        parts.append(f"{len(unseen)} more dropped that are not in Chroma's top {FIRST_STAGE_TOP}, the best at {best}.")
    return " ".join(parts)


def show_passages(console: Console, exchange: Exchange) -> None:
    """The passages that limiar kept, in full, with the words by which they can be found, too."""
    for number, hit in enumerate(exchange.kept, start=1):
        console.print(_passage(f"[{number}] {hit.passage.title}", hit, "green"))


def show_fallback(console: Console, exchange: Exchange, policy: SelectionPolicy) -> None:
    """That nothing is relevant, and what the fallback policy returns all the same."""
    console.print(Text(f"{NOTHING_RELEVANT}.", style="bold yellow"))
    if not exchange.kept:
        note(console, f"The fallback {policy.fallback!r} returns no passage.")
        return
    note(console, f"The fallback {policy.fallback!r} returns this, with a warning; no LLM is asked:")
    for document, hit in zip(exchange.result.kept, exchange.kept, strict=True):
        title = f"NOT TRUSTED, {_score_text(document, policy)} < {policy.threshold:g}: {hit.passage.title}"
        console.print(_passage(title, hit, "yellow"))


def show_sources(console: Console, exchange: Exchange) -> None:
    """What the numbers in an answer refer to."""
    for number, hit in enumerate(exchange.kept, start=1):
        note(console, f"  [{number}] {hit.passage.title}", "dim")


def _passage(title: str, hit: Hit, style: str) -> Panel:
    text = Text(plain(hit.passage.text))
    if hit.words:
        text.append(f"\n\noffline keywords: {plain(hit.words)}", style="dim")
    return Panel(text, title=Text(plain(title)), title_align="left", border_style=style)


# The set


def show_line_header(console: Console) -> None:
    """What the lines of `show_line` mean."""
    note(console, "relevant: passages that limiar returns, of those in the corpus")
    note(console, f"irrelevant: passages in Chroma's top {FIRST_STAGE_TOP} -> among those that limiar returns")
    note(console, "fallback: nothing reached the threshold, so what comes back is marked as not trusted")
    console.print()
    note(console, f"{'id':<5}{'question':<{_QUESTION_WIDTH}}  relevant  irrelevant", "bold")


def show_line(console: Console, outcome: Outcome, question: str) -> None:
    """One line: relevant passages found of those that exist, irrelevant ones before and after, and a mark."""
    short = " ".join(plain(question).split())
    if len(short) > _QUESTION_WIDTH:
        short = short[: _QUESTION_WIDTH - 3] + "..."
    relevant = f"{outcome.found_after} of {len(outcome.relevant)}" if outcome.relevant else "none"
    counts = f"  {relevant:<8}  {outcome.irrelevant_before} -> {outcome.irrelevant_after}"
    line = Text.assemble((f"{outcome.question:<5}", "dim"), f"{short:<{_QUESTION_WIDTH}}", counts)
    mark, style = _mark(outcome)
    console.print(line.append(f"      {mark}", style) if mark else line)


def _mark(outcome: Outcome) -> tuple[str, str]:
    if outcome.fell_back:
        return ("fallback", "green" if not outcome.relevant else "yellow")
    return ("false alarm", "red") if not outcome.relevant else ("", "")


def show_measurements(console: Console, numbers: Measurements, policy: SelectionPolicy, model_id: str) -> None:
    """The table at the end, and how each number is computed."""
    before, after, trusted = numbers.before, numbers.after, numbers.trusted
    table = Table(expand=True, header_style="bold")
    table.add_column(f"{numbers.questions} questions", ratio=1)
    for name in (f"Chroma's top {FIRST_STAGE_TOP}", "limiar", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("passages in the prompt", str(before.passages), str(after.passages), "")
    table.add_row(
        "irrelevant among them (1)",
        _counted(before.irrelevant, before.irrelevant_share),
        _counted(after.irrelevant, after.irrelevant_share),
        _signed(numbers.reduction),
    )
    table.add_row(
        "... without the marked fallbacks (2)",
        "",
        _counted(trusted.irrelevant, trusted.irrelevant_share),
        _signed(numbers.trusted_reduction),
    )
    table.add_row("precision", _percent(before.precision), _percent(after.precision), "")
    table.add_row("recall (3)", _percent(before.recall), _percent(after.recall), _times(numbers.recall_ratio))
    table.add_section()
    answerable = numbers.questions - numbers.unanswerable
    table.add_row(f"unanswerable ({numbers.unanswerable}): false alarms (4)", "", str(numbers.false_alarms), "")
    table.add_row(f"unanswerable ({numbers.unanswerable}): flagged by the fallback", "", str(numbers.flagged), "")
    table.add_row(f"answerable ({answerable}): flagged all the same", "", str(numbers.missed), "")
    table.add_section()
    table.add_row("rerank, passages seen before, ms (5)", "", _milliseconds(numbers.warm), "")
    table.add_row("rerank, passages never seen, ms (5)", "", _milliseconds(numbers.cold), "")
    console.print(table)
    for line in _footnotes(numbers, policy, model_id):
        note(console, line, "dim")


def _footnotes(numbers: Measurements, policy: SelectionPolicy, model_id: str) -> list[str]:
    return [
        f"scorer: {model_id}, threshold {policy.threshold:g}, top_k {policy.top_k}, fallback {policy.fallback}",
        "All shares pool the passages of all questions.",
        "(1) not judged relevant / returned, fallbacks and all questions included; change: after / before - 1",
        "(2) the same over the questions where a passage reached the threshold: what an LLM is given here",
        "(3) relevant passages returned / relevant passages in the corpus; change: after / before",
        "(4) a passage reached the threshold",
        f"(5) mean / 95th percentile: {numbers.warm.count} questions asked again; {numbers.cold.count} without a cache",
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _counted(count: int, share: float | None) -> str:
    return f"{count} = {_percent(share)}"


def _signed(reduction: float | None) -> str:
    return "-" if reduction is None else f"{-100 * reduction:+.1f} %"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"x {ratio:.3f}"


def _milliseconds(latency: Latency) -> str:
    return "-" if latency.mean is None or latency.p95 is None else f"{latency.mean:.0f} / {latency.p95:.0f}"
