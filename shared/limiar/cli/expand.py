"""`limiar expand`: has words written for documents, so that a search finds them by other words."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from limiar.cli.encoders import add_encoder_options, check_encoder, chosen_encoder
from limiar.cli.expand_documents import Documents, check_takes_words, index_folder, opened_documents
from limiar.cli.expand_models import add_model_options, chosen_expander
from limiar.cli.reading import add_reading_options
from limiar.cli.terminal import DEFAULT_FOLDER, documents_bar, expansion_bar, output_console, quiet_log, say
from limiar.errors import ConfigurationError, LimiarError
from limiar.keywords.entries import STORE_NAME
from limiar.selection import check_count

if TYPE_CHECKING:
    from limiar import AddReport, ExpansionEstimate, ExpansionReport, ExpansionStore, Recipe
    from limiar.embeddings.protocol import Encoder
    from limiar.keywords.generate import Expander
    from limiar.keywords.offline_run import OfflineExpander

_DONE, _UNANSWERED = 0, 1
_DESCRIPTION = (
    "Has a language model, or the statistics of the documents, write for each document what else people may call what "
    "it says. The words are kept in a store, each text is asked about once, and for an index they are written into it "
    "at the end. Without PATH: the index in ./limiar-index. `limiar expand show`, `edit`, `export`, `import`, `stats` "
    "and `apply` look after a store."
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `expand`."""
    parser = commands.add_parser(
        "expand", help="have keywords written for documents by a language model", description=_DESCRIPTION
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="the folder of an index; or files, as `limiar index`")
    parser.add_argument(
        "--store", type=Path, metavar="FILE", help=f"what keeps the words (default: {STORE_NAME}, in the index)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="ask about at most N documents; 0 applies what is known")
    parser.add_argument("--dry-run", action="store_true", help="say what it would cost; send and write nothing")
    parser.add_argument("--no-apply", action="store_true", help="fill the store, and leave the index as it is")
    add_model_options(parser)
    add_reading_options(parser)
    add_encoder_options(parser)
    parser.set_defaults(run=_expand)


def _expand(args: argparse.Namespace) -> int:
    from limiar import ExpansionStore

    if args.limit is not None:
        check_count("--limit", args.limit, 0)
    args.paths = args.paths or [DEFAULT_FOLDER]
    folder = index_folder(args.paths)
    path: Path = args.store or (Path(STORE_NAME) if folder is None else folder / STORE_NAME)
    if args.dry_run:
        return _estimate(args, folder, path)
    store = ExpansionStore(path)
    expander = chosen_expander(args, store)
    to_apply = None if args.no_apply else folder
    encoder = None if to_apply is None else check_encoder(to_apply, chosen_encoder(args.encoder, args.pooling))
    with quiet_log(), opened_documents(args, folder) as documents, _saying_what_is_kept(store, expander.recipe):
        report = _run(expander, documents, args.limit)
    _print_report(report, store)
    if to_apply is not None:
        changed = applied(to_apply, store, expander.recipe, encoder, clear=not args.limit)
        print_applied(to_apply, changed, store, expander.recipe)
    return _UNANSWERED if report.unanswered else _DONE


def _estimate(args: argparse.Namespace, folder: Path | None, path: Path) -> int:
    """A store that is not there yet is not made."""
    from limiar import ExpansionStore

    with TemporaryDirectory() as nowhere, closing(ExpansionStore(path if path.exists() else f"{nowhere}/s")) as store:
        expander = chosen_expander(args, store)
        with quiet_log(), opened_documents(args, folder) as documents:
            _print_estimate(expander.estimate(documents, limit=args.limit), offline=args.offline)
    return 0


def applied(
    folder: Path, store: ExpansionStore, recipe: Recipe, encoder: Encoder | None, *, clear: bool = True
) -> AddReport:
    """Write the words of a recipe into an index; those of other recipes leave it, unless `clear` is false.

    Raises:
        ConfigurationError: the index has no view of them, or would only lose words: it may be another index's store.
    """
    from limiar import HybridIndex, apply_expansions
    from limiar.keywords.indexing import has_expansions

    with (
        quiet_log(),
        HybridIndex.open(folder, encoder=encoder) as index,
        documents_bar(f"writing into {folder}") as advance,
    ):
        check_takes_words(folder, index)
        if clear and len(index) and not has_expansions(index, store, recipe):
            msg = f"{store.path} has words of {recipe.model} for no document of {folder}; nothing was written there"
            raise ConfigurationError(msg)
        return apply_expansions(
            index, store, recipe, clear=clear, progress=lambda done, total: advance(done, done, total)
        )


def print_applied(folder: Path, report: AddReport, store: ExpansionStore, recipe: Recipe) -> None:
    """What became of the documents of an index."""
    console = output_console()
    console.print(f"{folder}: the words of {recipe.model} from {store.path}", soft_wrap=True)
    console.print(f"  {report.replaced:,} documents changed, {report.unchanged:,} unchanged", soft_wrap=True)
    console.print(f"  {report.embedded:,} texts embedded", soft_wrap=True)


def _run(expander: Expander | OfflineExpander, documents: Documents, limit: int | None) -> ExpansionReport:
    from limiar.keywords.offline_run import OfflineExpander

    if not isinstance(expander, OfflineExpander):
        with expansion_bar("asking", limit) as advance:
            return expander.run(documents, limit=limit, progress=advance)
    with documents_bar("learning") as learned:
        return expander.run(documents, limit=limit, learning=lambda done, total: learned(done, done, total))


@contextmanager
def _saying_what_is_kept(store: ExpansionStore, recipe: Recipe) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, LimiarError) as error:
        what = "interrupted" if isinstance(error, KeyboardInterrupt) else "not finished"
        counts = store.stats(recipe)
        kept = counts["done"] + counts["edited"]
        say(f"{what}; {store.path} keeps the words of {kept:,} documents. The same command goes on from there")
        raise


# For people


def _print_estimate(estimate: ExpansionEstimate, *, offline: bool) -> None:
    asked = estimate.documents - estimate.known
    rows = [("documents", f"{estimate.documents:,}"), ("known, or nothing to ask", f"{estimate.known:,}")]
    rows += [("to expand", f"{asked:,}")]
    if not offline:
        cost = "unknown; give --price-in and --price-out" if estimate.usd is None else dollars(estimate.usd)
        time = (
            "unknown before the first answers; try --limit 20"
            if estimate.seconds is None
            else duration(estimate.seconds)
        )
        rows += [
            ("calls", f"{estimate.calls:,}"),
            ("documents to shorten", f"{estimate.shortened:,}"),
            ("tokens to read, at most", f"{estimate.prompt_tokens:,}"),
            ("tokens to write, about", f"{estimate.completion_tokens:,}"),
            ("cost, about", cost),
            ("time, about", time),
        ]
    _print_rows(rows)


def _print_report(report: ExpansionReport, store: ExpansionStore) -> None:
    rows = [("done", f"{report.done:,}"), ("known before", f"{report.reused:,}")]
    rows += [("empty documents", f"{report.empty:,}")] if report.empty else []
    rows += [("failed", f"{report.failed:,} ({report.refused:,} refused)" if report.failed else "0")]
    rows += [("unanswered", f"{report.unanswered:,}")]
    rows += [("shortened", f"{report.shortened:,}")] if report.shortened else []
    rows += [("seconds", f"{report.seconds:,.1f}")]
    if report.calls:
        rows += [("tokens read", f"{report.prompt_tokens:,}"), ("tokens written", f"{report.completion_tokens:,}")]
    rows += [] if report.usd is None else [("cost", dollars(report.usd))]
    rows += [("store", str(store.path))]
    _print_rows(rows)
    if report.failed:
        say(f"`{_how_to_show(store)}` lists what failed; --retry-failed asks again")
    if report.unanswered:
        say(f"{report.unanswered:,} documents got no answer (`{_how_to_show(store)}`); the same command asks again")


def _how_to_show(store: ExpansionStore) -> str:
    path = Path(store.path)
    named = "" if path == Path(DEFAULT_FOLDER) / STORE_NAME else f" --store {shlex.quote(str(path))}"
    return f"limiar expand show{named}"


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7_200 else f"{seconds / 3_600:,.1f} h"


def dollars(usd: float) -> str:
    """A cost for people: a trial of a few documents has one as well."""
    return f"US$ {usd:,.4f}" if usd < 1 else f"US$ {usd:,.2f}"


def _print_rows(rows: Sequence[tuple[str, str]]) -> None:
    from rich.table import Table

    table = Table(show_header=False)
    for row in rows:
        table.add_row(*row)
    output_console().print(table)
