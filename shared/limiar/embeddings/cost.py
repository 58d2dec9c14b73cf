"""What a run over an embeddings API will cost, and how long it will take."""

from __future__ import annotations

from dataclasses import dataclass

PRICES_AS_OF = "2026-11"
USD_PER_MILLION_TOKENS = {
    "text-embedding-3-small": 0.02,
    "text-embedding-3-large": 0.13,
    "text-embedding-ada-002": 0.10,
}
"""OpenAI's list prices for immediate answers, as known in `PRICES_AS_OF`: check them before a large run."""


@dataclass(frozen=True)
class Estimate:
    """What is left to do for some texts.

    Attributes:
        texts: how many texts there are.
        cached: how many of them need no request, as copies of another or from the cache.
        split: positions of the texts that are longer than the model reads at once.
        tokens: tokens to send; exact or, without tiktoken, an upper estimate.
        exact: whether the tokens were counted as the server counts them.
        requests: requests to send.
        usd: what they cost at the prices of `PRICES_AS_OF`; None for a model or a server of unknown price.
        seconds: how long they take at the pace and within the limits that this encoder's own requests have met;
            None before its first request.
    """

    texts: int
    cached: int
    split: tuple[int, ...]
    tokens: int
    exact: bool
    requests: int
    usd: float | None
    seconds: float | None

    def __str__(self) -> str:
        tokens = f"{self.tokens:,} tokens" if self.exact else f"at most {self.tokens:,} tokens (estimated)"
        cost = "cost unknown" if self.usd is None else f"US$ {self.usd:,.4f} at the prices of {PRICES_AS_OF}"
        time = "time unknown" if self.seconds is None else f"about {self.seconds:,.0f} s"
        known = f"{self.texts:,} texts, {self.cached:,} of them known"
        return f"{known}: {tokens} in {self.requests:,} requests, {cost}, {time}"


def price(model: str, tokens: int) -> float | None:
    """US dollars for so many tokens; None for a model of unknown price."""
    per_million = USD_PER_MILLION_TOKENS.get(model)
    return None if per_million is None else per_million * tokens / 1e6
