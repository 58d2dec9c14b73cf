"""`limiar index verify`, `repair` and `stats`: whether an index is in order, and what it is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from limiar.cli.encoders import add_encoder_options, check_encoder, chosen_encoder, saved_encoder
from limiar.cli.terminal import DEFAULT_FOLDER, documents_bar, output_console, quiet_log
from limiar.errors import ConfigurationError

if TYPE_CHECKING:
    from limiar import HybridIndex, IndexHealth

_IN_ORDER, _TO_REPAIR = 0, 1


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `index verify`, `index repair` and `index stats`."""
    verify = _added(commands, "verify", "check an index: status 0 if it is in order, 1 if there is something to repair")
    verify.set_defaults(run=_verify)
    repair = _added(commands, "repair", "make the BM25 index and the vectors hold exactly the documents")
    add_encoder_options(repair)
    repair.set_defaults(run=_repair)
    stats = _added(commands, "stats", "the size of an index and what it was made with")
    stats.set_defaults(run=_stats)


def _added(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], action: str, what: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(f"index {action}", help=what, description=f"{what[0].upper()}{what[1:]}.")
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help=f"default: {DEFAULT_FOLDER}")
    parser.add_argument("--index", type=Path, metavar="FOLDER", help="the same")
    return parser


def _folder(args: argparse.Namespace) -> Path:
    if args.folder is not None and args.index is not None:
        msg = f"{args.folder} and --index {args.index} are both given; expected one folder"
        raise ConfigurationError(msg)
    return Path(args.folder or args.index or DEFAULT_FOLDER)


def _verify(args: argparse.Namespace) -> int:
    with quiet_log(), _opened_to_read(_folder(args)) as index:
        health = index.verify()
    output_console().print(str(health), soft_wrap=True)
    return _status(health)


def _repair(args: argparse.Namespace) -> int:
    from limiar import HybridIndex

    folder = _folder(args)
    encoder = check_encoder(folder, chosen_encoder(args.encoder, args.pooling))
    console = output_console()
    with quiet_log(), HybridIndex.open(folder, encoder=encoder) as index:
        before = index.verify()
        if before.healthy:
            console.print(str(before), soft_wrap=True)
            return _IN_ORDER
        with documents_bar(f"repairing {folder}") as advance:
            after = index.repair(progress=lambda done, total: advance(done, done, total))
    console.print(f"Before the repair:\n{before}\nAfter it:\n{after}", soft_wrap=True)
    return _status(after)


def _stats(args: argparse.Namespace) -> int:
    from rich.table import Table

    with quiet_log(), _opened_to_read(_folder(args)) as index:
        stats, arms = index.stats(), index.arms
    table = Table(show_header=False)
    table.add_row("folder", str(index.folder))
    table.add_row("documents", f"{stats.documents:,}")
    table.add_row("size", f"{stats.size_bytes / 1e6:,.1f} MB")
    table.add_row("fields", ", ".join(f"{name} (weight {weight:g})" for name, weight in stats.fields.items()))
    table.add_row("language", stats.language)
    table.add_row("encoder", stats.encoder)
    for arm, views in stats.views.items():
        table.add_row(f"{arm} looks into", ", ".join(views))
    table.add_row("vectors in", {"folder": "this folder", "client": "a Chroma client"}.get(stats.place, stats.place))
    table.add_row("arms", ", ".join(arms))
    output_console().print(table)
    return 0


def _opened_to_read(folder: Path) -> HybridIndex:
    from limiar import HybridIndex

    return HybridIndex.open(folder, read_only=True, encoder=saved_encoder(folder))


def _status(health: IndexHealth) -> int:
    return _IN_ORDER if health.healthy else _TO_REPAIR
