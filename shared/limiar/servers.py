"""What every client of a model server needs: a safe address, a hidden key, and what a failing status means."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from limiar.errors import ConfigurationError
from limiar.rate_limits import asked_wait

OPENAI = "https://api.openai.com/v1"
NO_KEY = "no-key"
LONGEST_WAIT = 600.0
"""A server that asks for more seconds than this, such as until tomorrow, is not waited for."""

_PASSING = frozenset({408, 409, 425, 429})
_IN_VAIN = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_CODE = re.compile(r"[a-z_]{1,60}")


class Secret:
    """A text that shows itself to nobody who does not ask."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Secret('***')"

    def reveal(self) -> str:
        return self._text


@dataclass(frozen=True)
class Failure:
    """Why there is no answer, in our own words: a server's message may quote the key or a text.

    Attributes:
        reason: for messages.
        passing: whether the same request may succeed later.
        wait: seconds that the server asks to wait; None if it does not say.
        code: the server's own short code, such as "context_length_exceeded"; "" if it gives none.
    """

    reason: str
    passing: bool
    wait: float | None = None
    code: str = ""


def failed_status(status: int, headers: Mapping[str, str], *codes: object) -> Failure:
    """What an HTTP status of 300 or more means for the request.

    Args:
        status: the status.
        headers: the answer's, with names in lower case or in any if the mapping does not care.
        codes: what the body says under `code` and `type`; the first that is a plain word goes into the reason.
    """
    code = next((said for said in codes if isinstance(said, str) and _CODE.fullmatch(said)), "")
    reason = f"HTTP {status}" + (f", {code}" if code else "")
    if status in (401, 403):
        reason = f"it refused the API key ({reason})"
    elif status == 404:
        reason = f"it has no such model or address ({reason})"
    passing = status in _PASSING or status >= 500
    if (said := headers.get("x-should-retry")) in ("true", "false"):
        passing = said == "true"
    passing = passing and code not in _IN_VAIN
    return Failure(reason, passing, asked_wait(headers, limited=status == 429), code)


def http_address(text: str) -> SplitResult | None:
    """The parts of a server's address; None if it is not of the form http(s)://HOST[:PORT]/..."""
    try:
        address = urlsplit(text)
        usable = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:
        return None
    return address if usable else None


def openai_key(key: Secret | None, server: str) -> Secret:
    """The key given, or that of the environment, or for a server other than OpenAI's a placeholder.

    Raises:
        ConfigurationError: OpenAI's server, and no key.
    """
    key = key or Secret(os.environ.get("OPENAI_API_KEY") or "")
    if not key.reveal() and server == OPENAI:
        msg = "OpenAI needs a key: set OPENAI_API_KEY or give api_key; a server of your own needs base_url"
        raise ConfigurationError(msg)
    return key if key.reveal() else Secret(NO_KEY)


def without_credentials(base_url: str) -> str:
    """The address without user, password, query and closing slash.

    Raises:
        ConfigurationError: it is not the address of a server.
    """
    address = http_address(base_url)
    if address is None:
        msg = "base_url is not of the form http(s)://HOST[:PORT]/...; an example: http://localhost:8000/v1"
        raise ConfigurationError(msg)
    host = address.hostname if ":" not in (address.hostname or "") else f"[{address.hostname}]"
    port = f":{address.port}" if address.port else ""
    return f"{address.scheme}://{host}{port}{address.path.rstrip('/')}"
