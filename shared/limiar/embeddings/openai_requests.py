"""One request to an OpenAI-compatible embeddings API, sent until it is answered or there is no point in more."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from limiar.errors import EncoderError, MissingExtraError
from limiar.rate_limits import Gate, backoff, jittered
from limiar.servers import LONGEST_WAIT, Failure, Secret, failed_status

if TYPE_CHECKING:
    import openai


class Stopped(Exception):  # noqa: N818
    """Another request of the same run has failed: this one was not sent."""


class Pace:
    """What this encoder's own requests have met: how long they took, and the limits that the server stated."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = 0
        self._tokens = 0
        self._seconds = 0.0
        self._per_minute: dict[str, float] = {}

    def add(self, tokens: int, seconds: float, headers: Mapping[str, str]) -> None:
        with self._lock:
            self._requests += 1
            self._tokens += tokens
            self._seconds += seconds
            for name in ("requests", "tokens"):
                stated = headers.get(f"x-ratelimit-limit-{name}", "")
                if stated.isdecimal() and int(stated) > 0:
                    self._per_minute[name] = int(stated)

    def seconds(self, requests: int, tokens: int, at_once: int) -> float | None:
        """How long so many requests will take; None if there was none yet."""
        with self._lock:
            if not self._requests:
                return None
            each = self._seconds / self._requests
            work = max(each * requests, self._seconds / max(self._tokens, 1) * tokens)
            limited = [
                60 * amount / self._per_minute[name]
                for name, amount in (("requests", requests), ("tokens", tokens))
                if name in self._per_minute
            ]
            return max([work / max(1, min(at_once, requests)), *limited])


class Requests:
    """Sends texts to one server: at most `at_once` requests at a time, for all threads together.

    Args:
        server: its address for messages, without credentials.
        base_url: its address.
        key: the API key.
        fixed: what every request says, such as the model.
        at_once: requests at a time.
        retries: how often a request is sent again after a failure that may pass.
        timeout: seconds for one attempt.
    """

    def __init__(
        self, server: str, base_url: str, key: Secret, fixed: dict[str, Any], at_once: int, retries: int, timeout: float
    ) -> None:
        self.server = server
        self.pace = Pace()
        self._fixed = fixed
        self._retries = retries
        self._timeout = timeout
        self._slots = threading.BoundedSemaphore(at_once)
        self._gate = Gate()
        self._client = _client(base_url, key, timeout)

    def send(self, texts: Sequence[str], tokens: int, stop: threading.Event) -> Any:
        """The JSON of the server's answer to the texts.

        Raises:
            EncoderError: it refuses, or fails more often than there are retries.
            Stopped: `stop` was set before it was sent.
        """
        for attempt in range(self._retries + 1):
            with self._slots:
                if not self._gate.wait(stop):
                    raise Stopped
                outcome = self._attempt(texts, tokens)
            if not isinstance(outcome, Failure):
                return outcome[0]
            wait = jittered(outcome.wait) if outcome.wait else backoff(attempt)
            if not outcome.passing or wait > LONGEST_WAIT or attempt == self._retries:
                raise EncoderError(self._said(outcome, attempt + 1, wait))
            if outcome.wait:
                self._gate.close_for(wait)
            elif stop.wait(wait):
                raise Stopped
        raise Stopped  # not reached: the last attempt returns or raises

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _attempt(self, texts: Sequence[str], tokens: int) -> tuple[Any] | Failure:
        import openai

        started = time.perf_counter()
        try:
            response = self._client.embeddings.with_raw_response.create(
                input=list(texts), encoding_format="base64", **self._fixed
            )
            answer = response.http_response.json()
        except openai.APITimeoutError:
            return Failure(f"it did not answer within {self._timeout:g} seconds", passing=True)
        except openai.APIConnectionError:
            return Failure("it cannot be reached, or broke off", passing=True)
        except openai.APIStatusError as error:
            return failed_status(error.status_code, error.response.headers, error.code, error.type)
        except ValueError:
            return Failure("its answer is not JSON", passing=False)
        except openai.OpenAIError as error:
            return Failure(type(error).__name__, passing=False)
        self.pace.add(tokens, time.perf_counter() - started, response.headers)
        return (answer,)

    def _said(self, failure: Failure, attempts: int, wait: float) -> str:
        said = f"no vectors from {self.server}: {failure.reason}"
        if failure.passing and wait > LONGEST_WAIT:
            return f"{said}, and asks to wait {wait:.0f} seconds"
        return f"{said} ({attempts} attempts)" if failure.passing else said


def _client(base_url: str, key: Secret, timeout: float) -> openai.OpenAI:
    try:
        import openai
    except ImportError as error:
        feature = "OpenAIEncoder"
        raise MissingExtraError(feature, "openai") from error
    return openai.OpenAI(api_key=key.reveal(), base_url=base_url, timeout=timeout, max_retries=0)
