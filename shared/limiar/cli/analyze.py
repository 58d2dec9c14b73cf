"""`limiar analyze`: the terms that a text is indexed and searched by."""

from __future__ import annotations

import argparse
import sys

from limiar.text.analyzer import LANGUAGES, Analyzer


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `analyze`."""
    parser = commands.add_parser("analyze", help="show the terms that a text is indexed and searched by")
    parser.add_argument("text", help="the text; - reads standard input")
    parser.add_argument("--language", choices=sorted(LANGUAGES), default="pt", help="default: pt")
    parser.set_defaults(run=_analyze)


def _analyze(args: argparse.Namespace) -> int:
    """One term a line, so that the output can be sorted, counted and compared."""
    text = sys.stdin.read() if args.text == "-" else args.text
    for term in Analyzer(args.language)(text):
        sys.stdout.write(f"{term}\n")
    return 0
