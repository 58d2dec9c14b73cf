"""What a run over documents will cost, how far it is, and what it brought."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prices:
    """US dollars for a million tokens that the model reads and writes."""

    prompt: float
    completion: float

    def usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What so many tokens cost."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


@dataclass(frozen=True)
class ExpansionEstimate:
    """What is left to do for some documents.

    Attributes:
        documents: how many there are.
        known: how many of them need no call: known to the store, empty, or copies of another.
        calls: calls to make.
        shortened: documents longer than the prompt's `max_characters`.
        prompt_tokens: tokens to send; estimated on the high side.
        completion_tokens: tokens to be written: as this recipe's entries took on average, or else by what the prompt
            asks for.
        usd: the cost at the expander's prices; None without.
        seconds: at the pace of this recipe's entries, or of the `seconds_per_call` given; None without both.
    """

    documents: int
    known: int
    calls: int
    shortened: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    seconds: float | None

    def __str__(self) -> str:
        cost = "cost unknown" if self.usd is None else f"about US$ {self.usd:,.2f}"
        time = "time unknown" if self.seconds is None else f"about {self.seconds:,.0f} s"
        tokens = f"about {self.prompt_tokens:,} tokens to read and {self.completion_tokens:,} to write"
        known = f"{self.documents:,} documents, {self.known:,} of them known"
        return f"{known}: {self.calls:,} calls, {tokens}, {cost}, {time}"


@dataclass
class ExpansionReport:
    """What a run brought, or has brought so far.

    Attributes:
        total: documents in all; None if their number is not known ahead.
        seen: documents taken from the caller.
        done: expanded now.
        empty: blank documents, which get an empty expansion without a call.
        reused: documents whose text the store knew, or another document or run expanded meanwhile.
        failed: asked, but neither of two answers was of use; the store has the last one.
        refused: how many of those the model refused.
        unanswered: the server gave no answer for these alone; the next run asks again.
        shortened: asked with a shortened text.
        calls: answers received.
        prompt_tokens: read, as the server says.
        completion_tokens: written, as the server says.
        seconds: since the run began.
        usd: the cost of the tokens at the expander's prices; None without.
    """

    total: int | None = None
    seen: int = 0
    done: int = 0
    empty: int = 0
    reused: int = 0
    failed: int = 0
    refused: int = 0
    unanswered: int = 0
    shortened: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    usd: float | None = None

    @property
    def settled(self) -> int:
        """Documents that this run has no more to do for."""
        return self.done + self.empty + self.reused + self.failed + self.unanswered

    @property
    def asked(self) -> int:
        """Documents that the model was asked about and that are settled."""
        return self.done + self.failed + self.unanswered

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; None without a total or a pace."""
        if self.total is None or not self.asked or not self.seconds:
            return None
        return max(0, self.total - self.settled) * self.seconds / self.settled

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total:,}"
        cost = "" if self.usd is None else f", US$ {self.usd:,.2f}"
        return (
            f"{self.settled:,}{of} documents: {self.done:,} done, {self.reused:,} known, {self.empty:,} empty, "
            f"{self.failed:,} failed ({self.refused:,} refused), {self.unanswered:,} unanswered, {self.shortened:,} "
            f"shortened; {self.calls:,} calls, {self.prompt_tokens:,} + {self.completion_tokens:,} tokens{cost}, "
            f"{self.seconds:,.1f} s"
        )
