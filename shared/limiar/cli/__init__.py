"""The `limiar` command. Each command is a module with `add_parser`, which sets `run(args) -> exit status`."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence

from limiar import __version__
from limiar.errors import LimiarError

_FAILED = 2
_INTERRUPTED = 130
_PIPE_CLOSED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; None for the process's own.

    Returns:
        The exit status: 0; 2 for an error that limiar explains, in one line on standard error; 130 if interrupted; 1 if
        the reader of the output went away.

    Raises:
        SystemExit: by argparse, for --help, --version (status 0) and unknown arguments (status 2).
    """
    from limiar.cli.two_words import as_one_word

    args = _parser().parse_args(as_one_word(sys.argv[1:] if argv is None else list(argv)))
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        status = run(args)
        sys.stdout.flush()
    except LimiarError as error:
        sys.stderr.write(f"limiar: {' '.join(str(error).split())}\n")
        return _FAILED
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return _INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return _PIPE_CLOSED
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _discard_output()
        sys.stderr.write("limiar: the output cannot be written (no space left on its disk)\n")
        return _FAILED
    return status


def _parser() -> argparse.ArgumentParser:
    from limiar.cli import analyze, demo, expand, expand_store, index, index_health, model, search

    parser = argparse.ArgumentParser(prog="limiar", description="RAG that answers from relevant passages only.")
    parser.add_argument("--version", action="version", version=f"limiar {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    analyze.add_parser(commands)
    demo.add_parser(commands)
    index.add_parser(commands)
    index_health.add_parser(commands)
    search.add_parser(commands)
    expand.add_parser(commands)
    expand_store.add_parser(commands)
    model.add_parser(commands)
    return parser


def _discard_output() -> None:
    """Point standard output at nothing, so that the flush at exit does not fail again."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
