"""The options that say who writes the words for documents, a language model or the statistics, and what is asked."""

from __future__ import annotations

import argparse
import hashlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from limiar.errors import ConfigurationError

if TYPE_CHECKING:
    from limiar.keywords.generate import Expander
    from limiar.keywords.offline_run import OfflineExpander
    from limiar.keywords.prompts import ExpansionPrompt
    from limiar.keywords.report import Prices
    from limiar.keywords.store import ExpansionStore

_CONCURRENCY, _MAX_TOKENS = 8, 1_200
_OF_A_MODEL = (
    "base_url",
    "api_key_env",
    "questions",
    "statement",
    "prompt",
    "concurrency",
    "max_tokens",
    "price_in",
    "price_out",
    "retry_failed",
)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, `--offline` and what goes with each."""
    group = parser.add_argument_group("who writes the words")
    group.add_argument("--model", metavar="NAME", help="a chat model of OpenAI, or of the server at --base-url")
    group.add_argument(
        "--offline", action="store_true", help="no language model: the documents' own statistics and the encoder"
    )
    group.add_argument("--base-url", metavar="URL", help="a server with OpenAI's API, such as http://localhost:8000/v1")
    group.add_argument(
        "--api-key-env", metavar="NAME", help="the environment variable that holds the key (default: OPENAI_API_KEY)"
    )
    group.add_argument(
        "--concurrency", type=int, metavar="N", help=f"calls at a time (default: {_CONCURRENCY}, at most 256)"
    )
    group.add_argument(
        "--max-tokens", type=int, metavar="N", help=f"of an answer (default: {_MAX_TOKENS:,}; 0 leaves it to the model)"
    )
    group.add_argument("--price-in", type=float, metavar="X", help="US dollars for a million tokens read")
    group.add_argument("--price-out", type=float, metavar="X", help="US dollars for a million tokens written")
    group.add_argument("--retry-failed", action="store_true", help="ask again about documents that failed")
    asked = parser.add_argument_group("what is asked for")
    asked.add_argument(
        "--language",
        choices=("pt", "en"),
        default="pt",
        help="of the prompt and, for --offline, of the texts (default: %(default)s)",
    )
    asked.add_argument("--keywords", type=int, metavar="N", help="terms at most (default: 10; offline 8)")
    asked.add_argument("--synonyms", type=int, metavar="N", help="other words for each term (default: 4; offline 2)")
    asked.add_argument("--questions", type=int, metavar="N", help="questions that the document answers (default: 0)")
    asked.add_argument("--statement", action="store_true", help="the main point in plain words")
    asked.add_argument("--prompt", type=Path, metavar="FILE", help="instructions of your own instead of limiar's")


def chosen_expander(args: argparse.Namespace, store: ExpansionStore) -> Expander | OfflineExpander:
    """What the options name. Nothing is sent and no model is loaded yet.

    Raises:
        ConfigurationError: neither or both of a model and `--offline`, or a value that cannot be.
        MissingExtraError: the openai package is not installed.
    """
    if args.offline == (args.model is not None):
        which = "both are given" if args.offline else "neither is given"
        msg = f"{which} of --model NAME (a language model writes the words) and --offline (statistics do); choose one"
        raise ConfigurationError(msg)
    return _offline(args, store) if args.offline else _asking(args, store)


def _offline(args: argparse.Namespace, store: ExpansionStore) -> OfflineExpander:
    from limiar.keywords.offline import OfflineGenerator
    from limiar.keywords.offline_run import OfflineExpander

    for name in _OF_A_MODEL:
        if getattr(args, name) not in (None, False):
            msg = f"--{name.replace('_', '-')} is for a language model; leave it out with --offline"
            raise ConfigurationError(msg)
    counts = {"terms": args.keywords, "related": args.synonyms}
    given = {name: value for name, value in counts.items() if value is not None}
    return OfflineExpander(OfflineGenerator(language=args.language, **given), store)


def _asking(args: argparse.Namespace, store: ExpansionStore) -> Expander:
    from limiar.keywords.generate import Expander
    from limiar.keywords.openai_chat import OpenAIChat

    chat = OpenAIChat(
        args.model,
        base_url=args.base_url,
        api_key=_key(args.api_key_env),
        max_tokens=_MAX_TOKENS if args.max_tokens is None else args.max_tokens or None,
    )
    expander = Expander(
        chat,
        store,
        _prompt(args),
        concurrency=_CONCURRENCY if args.concurrency is None else args.concurrency,
        retry_failed=args.retry_failed,
        prices=_prices(args.price_in, args.price_out),
    )
    if not args.dry_run:
        chat.warm_up()
    return expander


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not os.environ.get(variable):
        msg = f"--api-key-env {variable[:40]!r}: there is no such environment variable, or it is empty"
        raise ConfigurationError(msg)
    return os.environ[variable]


def _prompt(args: argparse.Namespace) -> ExpansionPrompt:
    from limiar.keywords.prompts import ExpansionPrompt

    counts = {name: getattr(args, name) for name in ("keywords", "synonyms", "questions")}
    given = {name: value for name, value in counts.items() if value is not None}
    prompt = ExpansionPrompt(args.language, statement=args.statement, **given)
    if args.prompt is None:
        return prompt
    return _with_instructions(prompt, args.prompt)


def _with_instructions(prompt: ExpansionPrompt, path: Path) -> ExpansionPrompt:
    """With those of a file, under a version that is known by its content: the file may move."""
    from dataclasses import replace

    try:
        instructions = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        msg = f"--prompt {path} cannot be read ({error.strerror})"
        raise ConfigurationError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"--prompt {path} is not UTF-8"
        raise ConfigurationError(msg) from error
    digest = hashlib.sha256(instructions.encode()).hexdigest()
    return replace(prompt, instructions=instructions, version=f"own-{digest[:8]}")


def _prices(read: float | None, written: float | None) -> Prices | None:
    from limiar.keywords.report import Prices

    if read is None and written is None:
        return None
    if read is None or written is None or not (0 <= read < math.inf and 0 <= written < math.inf):
        msg = f"--price-in {read} and --price-out {written}; expected both, from 0: US dollars for a million tokens"
        raise ConfigurationError(msg)
    return Prices(read, written)
