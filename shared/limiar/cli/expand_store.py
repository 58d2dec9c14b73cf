"""`limiar expand show`, `edit`, `export`, `import`, `stats` and `apply`: the words that a store keeps."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from limiar.cli.encoders import add_encoder_options, check_encoder, chosen_encoder, saved_encoder
from limiar.cli.expand import applied, print_applied
from limiar.cli.terminal import DEFAULT_FOLDER, output_console, plain, quiet_log, say
from limiar.errors import ConfigurationError, ExpansionStoreError, InputError
from limiar.keywords.entries import STORE_NAME

if TYPE_CHECKING:
    from limiar import Expansion, ExpansionStore, IndexTexts, Recipe
    from limiar.keywords.entries import Entry

_LISTED, _IDS = 50, 5


@dataclass(frozen=True)
class _Place:
    """A store, and the index that it is for; None for none."""

    path: Path
    folder: Path | None


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands on a store."""
    show = _added(commands, "show", "one document's words; without ID, what failed")
    show.add_argument("id", nargs="?", metavar="ID", help="of a document")
    show.set_defaults(run=_show)
    edit = _added(commands, "edit", "write a document's words by hand, in $EDITOR; no run replaces them")
    edit.add_argument("id", metavar="ID", help="of a document")
    edit.add_argument("--set", metavar="JSON", help='instead of $EDITOR, such as \'{"keywords": ["certame"]}\'')
    edit.set_defaults(run=_edit)
    export = _added(commands, "export", "write the entries to a file of JSON lines")
    export.add_argument("file", type=Path, metavar="FILE", help="to write")
    export.set_defaults(run=_export)
    import_ = _added(commands, "import", 'take entries from JSON lines such as {"_id": "13", "keywords": ["certame"]}')
    import_.add_argument("file", type=Path, metavar="FILE", help="to read")
    import_.add_argument("--replace", action="store_true", help="lines go before the entries that are there")
    import_.set_defaults(run=_import)
    _added(commands, "stats", "what a store holds, by recipe").set_defaults(run=_stats)
    apply = _added(commands, "apply", "write the words of a recipe into the index")
    add_encoder_options(apply)
    apply.set_defaults(run=_apply)


def _added(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], action: str, what: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(f"expand {action}", help=what, description=f"{what[0].upper()}{what[1:]}.")
    parser.add_argument(
        "--index", type=Path, metavar="FOLDER", help=f"default: {DEFAULT_FOLDER}, unless --store is given"
    )
    parser.add_argument(
        "--store", type=Path, metavar="FILE", help=f"default: {STORE_NAME} in the index, or else where you are"
    )
    if action != "stats":
        parser.add_argument("--recipe", metavar="ID", help="of the model and prompt; see `limiar expand stats`")
    return parser


def _show(args: argparse.Namespace) -> int:
    with _opened(_place(args)) as store:
        recipe = _named(store, args.recipe) if args.recipe else None
        if args.id is None:
            _print_failed(store, recipe)
            return 0
        store.key_of_document(args.id)
        entries = store.of_document(args.id, recipe)
        if not entries:
            say(f"no entry of {args.id}: nothing was asked about its present text")
        for entry in entries:
            _print_entry(entry)
    return 0


def _edit(args: argparse.Namespace) -> int:
    from limiar.keywords.entries import text_key

    place = _place(args)
    with _opened(place) as store:
        recipe = _named(store, args.recipe)
        with _index_texts(place.folder) as texts:
            text = None if texts is None else texts.text(args.id)
        if text is not None:
            store.name_documents([(args.id, text)])
        key = store.key_of_document(args.id) if text is None else text_key(text)
        expansion = _read(args.set) if args.set is not None else _edited(_present(store, args.id, recipe))
        if expansion is None:
            say("nothing was changed")
            return 0
        store.edit(recipe, key, expansion)
        say(f"{args.id} is kept as edited{_how_to_apply(place, recipe)}")
    return 0


def _export(args: argparse.Namespace) -> int:
    with _opened(_place(args)) as store:
        count = store.export_jsonl(args.file, _named(store, args.recipe) if args.recipe else None)
    output_console().print(f"{args.file}: {count:,} lines", soft_wrap=True)
    return 0


def _import(args: argparse.Namespace) -> int:
    from limiar import ExpansionStore, Recipe

    place = _place(args, to_make=True)
    with closing(ExpansionStore(place.path)) as store, _index_texts(place.folder) as texts:
        recipe = _named(store, args.recipe) if args.recipe else Recipe.imported()
        report = store.import_jsonl(args.file, texts or (), recipe=recipe, replace=args.replace)
    console = output_console()
    console.print(f"{place.path}: {report.taken:,} taken, {report.kept:,} known and kept", soft_wrap=True)
    if report.unknown:
        say(f"{report.unknown:,} lines are of documents that neither the index nor the store knows")
    if report.taken and place.folder is not None:
        say(f"they are in the store{_how_to_apply(place, recipe)}")
    return 0


def _stats(args: argparse.Namespace) -> int:
    from rich.table import Table

    table = Table()
    for name in ("recipe", "model", "prompt"):
        table.add_column(name, overflow="fold")
    counted = ("done", "edited", "failed", "unanswered", "stale")
    for name in (*counted, "tokens"):
        table.add_column(name, justify="right")
    with _opened(_place(args)) as store:
        for recipe in store.recipes():
            counts = store.stats(recipe)
            tokens = counts["prompt_tokens"] + counts["completion_tokens"]
            numbers = [f"{counts[name]:,}" for name in counted]
            table.add_row(_short(recipe), plain(recipe.model), recipe.version or "-", *numbers, f"{tokens:,}")
    output_console().print(table)
    return 0


def _apply(args: argparse.Namespace) -> int:
    place = _place(args)
    if place.folder is None:
        msg = "there is no index here to write into; name it with --index FOLDER"
        raise ConfigurationError(msg)
    encoder = check_encoder(place.folder, chosen_encoder(args.encoder, args.pooling))
    with _opened(place) as store:
        recipe = _named(store, args.recipe)
        print_applied(place.folder, applied(place.folder, store, recipe, encoder), store, recipe)
    return 0


# Which store, which recipe


def _place(args: argparse.Namespace, *, to_make: bool = False) -> _Place:
    """The store that the options mean; it is there, unless it is to be made.

    Raises:
        ConfigurationError: the folder named holds no index.
        ExpansionStoreError: there is no store.
    """
    from limiar.retrieval.store import MANIFEST

    folder: Path | None = args.index
    if args.index is not None and not (args.index / MANIFEST).exists():
        msg = f"{args.index} holds no index; expected a folder that `limiar index` made"
        raise ConfigurationError(msg)
    if args.index is None and args.store is None and (Path(DEFAULT_FOLDER) / MANIFEST).exists():
        folder = Path(DEFAULT_FOLDER)
    path: Path = args.store or (Path(STORE_NAME) if folder is None else folder / STORE_NAME)
    if not to_make and not path.is_file():
        msg = f"there is no store {path}; make one with `limiar expand`, or name it with --store or --index"
        raise ExpansionStoreError(msg)
    return _Place(path, folder)


@contextmanager
def _opened(place: _Place) -> Iterator[ExpansionStore]:
    from limiar import ExpansionStore

    with closing(ExpansionStore(place.path)) as store:
        yield store


@contextmanager
def _index_texts(folder: Path | None) -> Iterator[IndexTexts | None]:
    """The texts of the index; None without one."""
    if folder is None:
        yield None
        return
    from limiar import HybridIndex, IndexTexts

    with quiet_log(), HybridIndex.open(folder, read_only=True, encoder=saved_encoder(folder)) as index:
        yield IndexTexts(index)


def _named(store: ExpansionStore, named: str | None) -> Recipe:
    """The recipe that begins so; where none is named, the only one.

    Raises:
        ConfigurationError: there is none, or more than one.
    """
    there = store.recipes()
    found = [recipe for recipe in there if recipe.fingerprint.startswith((named or "").lower())]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{_short(recipe)} ({plain(recipe.model)})" for recipe in there) or "none"
    wanted = "expected --recipe ID" if named is None else f"--recipe {named[:64]!r} names {len(found)} of them"
    msg = f"{store.path} holds these recipes: {known}; {wanted}"
    raise ConfigurationError(msg)


def _short(recipe: Recipe) -> str:
    return recipe.fingerprint[:8]


def _how_to_apply(place: _Place, recipe: Recipe) -> str:
    if place.folder is None:
        return ""
    named = [f"--index {shlex.quote(str(place.folder))}"]
    if place.path != place.folder / STORE_NAME:
        named += [f"--store {shlex.quote(str(place.path))}"]
    return f"; `limiar expand apply {' '.join(named)} --recipe {_short(recipe)}` writes it into the index"


# Editing


def _present(store: ExpansionStore, document_id: str, recipe: Recipe) -> dict[str, object]:
    from limiar import Expansion

    entries = store.of_document(document_id, recipe)
    return (entries[0].outcome.expansion if entries else Expansion()).as_dict()


def _read(text: str) -> Expansion:
    from limiar import Expansion
    from limiar.keywords.expansion import PARTS

    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = 'the entry is no JSON; expected an object such as {"keywords": ["certame"]}'
        raise InputError(msg) from error
    if not isinstance(values, dict):
        msg = 'the entry is no JSON object; expected one such as {"keywords": ["certame"]}'
        raise InputError(msg)
    if unknown := set(values) - set(PARTS):
        msg = f"{min(unknown)[:40]!r} is no part of an entry; expected {', '.join(PARTS)}"
        raise InputError(msg)
    return Expansion.from_dict(values)


def _edited(before: dict[str, object]) -> Expansion | None:
    """What the user's editor makes of it; None if nothing. A text that cannot be read stays in its file."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        msg = "neither $VISUAL nor $EDITOR names an editor; set one, or give the entry with --set JSON"
        raise ConfigurationError(msg)
    try:
        command = shlex.split(editor)
    except ValueError as error:
        msg = f"the editor {editor!r} cannot be run ({error})"
        raise ConfigurationError(msg) from error
    text = json.dumps(before, ensure_ascii=False, indent=2) + "\n"
    descriptor, name = tempfile.mkstemp(prefix="limiar-", suffix=".json")
    path = Path(name)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - the descriptor is of a file made just now
        file.write(text)
    try:
        status = subprocess.run([*command, name], check=False).returncode  # noqa: S603 - the user's own
    except OSError as error:
        path.unlink()
        msg = f"the editor {editor!r} cannot be run ({error.strerror})"
        raise ConfigurationError(msg) from error
    if status:
        path.unlink(missing_ok=True)
        msg = f"the editor {editor!r} ended with status {status}; nothing was changed"
        raise InputError(msg)
    try:
        after = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        msg = f"the editor {editor!r} left no file to read ({error.strerror}); nothing was changed"
        raise InputError(msg) from error
    if after == text:
        path.unlink()
        return None
    try:
        expansion = _read(after)
    except InputError as error:
        msg = f"{error}. Nothing was changed; your text is in {path}"
        raise InputError(msg) from error
    path.unlink()
    return expansion


# For people


def _print_entry(entry: Entry) -> None:
    from rich.table import Table
    from rich.text import Text

    outcome, table = entry.outcome, Table(show_header=False)
    table.add_row("document", Text(_ids(entry)))
    table.add_row("recipe", Text(f"{_short(entry.recipe)} {plain(entry.recipe.model)} {entry.recipe.version}".rstrip()))
    table.add_row("status", outcome.status)
    if outcome.reason:
        table.add_row("reason", Text(plain(outcome.reason)))
    for keyword in outcome.expansion.keywords:
        table.add_row("keyword", Text(plain(": ".join((keyword.term, ", ".join(keyword.synonyms))).removesuffix(": "))))
    for question in outcome.expansion.questions:
        table.add_row("question", Text(plain(question)))
    if outcome.expansion.statement:
        table.add_row("statement", Text(plain(outcome.expansion.statement)))
    if outcome.raw:
        table.add_row("answer", Text("\n".join(map(plain, outcome.raw.splitlines()))))
    output_console().print(table)


def _ids(entry: Entry) -> str:
    """The first documents that have the text: a collection may hold thousands of copies."""
    more = f" and {len(entry.ids) - _IDS:,} more" if len(entry.ids) > _IDS else ""
    return plain(", ".join(entry.ids[:_IDS])) + more


def _print_failed(store: ExpansionStore, recipe: Recipe | None) -> None:
    from rich.table import Table
    from rich.text import Text

    table, count = Table("document", "recipe", "status", "reason"), 0
    for status in ("failed", "unanswered"):
        for entry in store.entries(recipe, status=status, stale=False):
            count += 1
            if count <= _LISTED:
                said = Text(plain(entry.outcome.reason))
                table.add_row(Text(_ids(entry)), _short(entry.recipe), status, said)
    if not count:
        say("nothing failed; name a document's id to see its words")
        return
    output_console().print(table)
    if count > _LISTED:
        say(f"and {count - _LISTED:,} more; `limiar expand export` writes all of them")
