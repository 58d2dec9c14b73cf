"""What the commands on an index print through: the console, the progress bar, text that cannot drive a terminal."""

from __future__ import annotations

import logging
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from limiar import ExpansionReport

DEFAULT_FOLDER = "limiar-index"

_PIPED_WIDTH = 120


def output_console() -> Console:
    """On standard output: as wide as the terminal, or 120 columns elsewhere."""
    from rich.console import Console

    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter shows "?" instead of failing
    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    return Console(width=width, markup=False, highlight=False, emoji=False)


def say(line: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"limiar: {plain(line)}\n")


def plain(text: str) -> str:
    """`text` on one line, without control characters and what cannot be encoded."""
    return "".join(c for c in " ".join(text.split()) if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))


@contextmanager
def quiet_log() -> Iterator[None]:
    """Keep limiar's warnings from standard error: what they say is part of the output."""
    logger = logging.getLogger("limiar")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


Advance = Callable[[int, float, float | None], None]
"""Called with the number of documents done, and how much is done of how much: of any unit; None if nobody knows."""


@contextmanager
def documents_bar(label: str) -> Iterator[Advance]:
    """A bar with the number of documents, their rate and the time left, on standard error; only on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[documents]:,} documents, {task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None, documents=0, rate=0.0)

        def advance(documents: int, done: float, total: float | None) -> None:
            elapsed = bar.tasks[0].elapsed
            bar.update(task, completed=done, total=total, documents=documents, rate=documents / (elapsed or 1.0))

        yield advance


@contextmanager
def expansion_bar(label: str, limit: int | None) -> Iterator[Callable[[ExpansionReport], None]]:
    """A bar over a run of an expander: documents, failures, tokens, cost and the time left; only on a terminal.

    Args:
        label: what is done.
        limit: how many documents are asked about at most; None for all of them.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[said]}"),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None, said="")

        def advance(report: ExpansionReport) -> None:
            done, total = (report.settled, report.total) if limit is None else (report.asked, limit)
            bar.update(task, completed=done, total=total, said=expansion_line(report, done, total))

        yield advance


def expansion_line(report: ExpansionReport, done: int, total: int | None) -> str:
    """What a bar says of a run: "12 of 40 documents, 1 failed, 9,100 tokens, US$ 0.01"."""
    parts = [
        f"{done:,} documents" if total is None else f"{done:,} of {total:,} documents",
        f"{report.failed:,} failed",
    ]
    tokens = report.prompt_tokens + report.completion_tokens
    parts += [f"{tokens:,} tokens"] if tokens else []
    parts += [] if report.usd is None else [f"US$ {report.usd:,.2f}"]
    return ", ".join(parts)
