"""`limiar demo`: Chroma's answers beside limiar's, in a chat or over the judged questions."""

from __future__ import annotations

import argparse
from pathlib import Path

from limiar.demo.options import DEFAULT_CANDIDATES, DEFAULT_LLM, FIRST_STAGE_TOP, KEYWORDS_CHOICES, DemoOptions
from limiar.selection import DEFAULT_THRESHOLD, DEFAULT_TOP_K

_FALLBACKS = ("top1", "empty", "original")
_DESCRIPTION = (
    "Indexes the demo's passages for Chroma and BM25, with keywords written without a language model, and shows, for "
    f"each question, Chroma's top {FIRST_STAGE_TOP} beside what limiar keeps. At a terminal it is a chat; otherwise it "
    "runs the judged questions and ends with a table."
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `demo`."""
    parser = subparsers.add_parser("demo", help="see what the threshold does", description=_DESCRIPTION)
    _add_mode(parser.add_argument_group("what to run"))
    _add_limiar(parser.add_argument_group("limiar"))
    _add_first_stage(parser.add_argument_group("first stage"))
    _add_llm(parser.add_argument_group("answers"))
    parser.set_defaults(run=_run)


def _add_mode(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--question", metavar="TEXT", help="answer this question and stop")
    group.add_argument("--all", action="store_true", help="run the judged questions, also at a terminal")
    group.add_argument("--limit", type=int, metavar="N", help="only N of them, spread evenly (implies --all)")
    group.add_argument("--json", type=Path, metavar="FILE", help="write the measurements there (implies --all)")
    group.add_argument("--no-color", action="store_true", help="no colours")


def _add_limiar(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        metavar="X",
        help="keep scores >= X (default: %(default)s)",
    )
    group.add_argument(
        "--top-k", type=int, default=DEFAULT_TOP_K, metavar="N", help="at most N passages (default: %(default)s)"
    )
    group.add_argument(
        "--fallback",
        choices=_FALLBACKS,
        default="top1",
        help="what comes back if nothing passes (default: %(default)s)",
    )
    group.add_argument(
        "--model",
        metavar="NAME",
        help="a Hugging Face cross-encoder, such as cross-encoder/ms-marco-MiniLM-L-6-v2 (default: the bundled scorer)",
    )


def _add_first_stage(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--candidates",
        type=int,
        default=DEFAULT_CANDIDATES,
        metavar="N",
        help="passages for limiar, by Chroma and BM25 together (default: %(default)s)",
    )
    group.add_argument(
        "--keywords",
        choices=KEYWORDS_CHOICES,
        default="offline",
        help="find passages by generated words, too: offline, from statistics and the bundled encoder, or none "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--db", type=Path, metavar="DIR", help="keep the index there (default: a folder removed at the end)"
    )


def _add_llm(group: argparse._ArgumentGroup) -> None:
    group.description = (
        "An LLM answers from the kept passages if OPENAI_API_KEY is set or --llm-base-url is given; else the passages "
        "are the answer. The key in OPENAI_API_KEY goes to that server."
    )
    group.add_argument("--llm-base-url", metavar="URL", help="an OpenAI-compatible server: http://localhost:11434/v1")
    group.add_argument("--llm-model", metavar="NAME", help=f"its model (default: {DEFAULT_LLM}, at OpenAI only)")


def _run(args: argparse.Namespace) -> int:
    options = DemoOptions(
        question=args.question,
        whole_set=args.all,
        limit=args.limit,
        json_path=args.json,
        db=args.db,
        model=args.model,
        threshold=args.threshold,
        top_k=args.top_k,
        fallback=args.fallback,
        keywords=args.keywords,
        candidates=args.candidates,
        llm_base_url=args.llm_base_url,
        llm_model=args.llm_model,
        no_color=args.no_color,
    )

    from limiar.demo.session import run_demo

    run_demo(options)
    return 0
