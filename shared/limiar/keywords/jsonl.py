"""Expansions from and to files of JSON lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from limiar.errors import ExpansionStoreError, InputError
from limiar.keywords.entries import STATUSES, Entry, Outcome, Recipe, text_key
from limiar.keywords.entry_rows import name_documents, recipe_number, replace_outcome
from limiar.keywords.expansion import PARTS, Expansion
from limiar.sqlite_file import SqliteFile

_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Imported:
    """What became of the lines of a file.

    Attributes:
        taken: entries written.
        kept: lines whose document has an entry already, which stayed.
        unknown: lines of documents whose text was not given.
    """

    taken: int
    kept: int
    unknown: int


@dataclass(frozen=True)
class _Line:
    id: str | None
    key: bytes | None
    outcome: Outcome


def import_jsonl(
    store: SqliteFile,
    path: str | Path,
    texts: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    *,
    recipe: Recipe | None = None,
    replace: bool = False,
) -> Imported:
    """Take expansions from lines such as {"_id": "13", "keywords": ["Corte", {"term": "Contas", "synonyms": [...]}]}.

    A line may have "questions" and "statement" as well, and a "status" other than "done". It belongs to the text that
    its document has in `texts`, to the one that a run named by the same id, or to its own "text_sha256".

    Args:
        store: the store's file.
        path: the file, UTF-8.
        texts: the documents, by id or as (id, text).
        recipe: what to keep them under: give an expander's `recipe`, and it will not ask about them. None for
            `Recipe.imported()`.
        replace: whether a line goes before the entry that is there.

    Raises:
        InputError: a line is not of this form; its number is in the message. Nothing of the file is taken then.
        ExpansionStoreError: the file cannot be read, or the store cannot be written.
    """
    pairs = texts.items() if isinstance(texts, Mapping) else texts
    keys = {document_id: text_key(text) for document_id, text in pairs}
    recipe = Recipe.imported() if recipe is None else recipe
    taken = kept = unknown = 0
    with store.writing() as connection:
        number = recipe_number(connection, recipe, make=True)
        name_documents(connection, keys.items())
        for line in _lines(Path(path)):
            key = keys.get(line.id or "") or line.key
            if key is None and line.id is not None:
                row = connection.execute("SELECT text FROM documents WHERE id = ?", (line.id,)).fetchone()
                key = row and row[0]
            if key is None:
                unknown += 1
                continue
            if line.id is not None:
                name_documents(connection, [(line.id, key)])
            query = "SELECT 1 FROM entries WHERE recipe = ? AND text = ?"
            if not replace and connection.execute(query, (number, key)).fetchone():
                kept += 1
                continue
            replace_outcome(connection, number, key, line.outcome)
            taken += 1
    return Imported(taken, kept, unknown)


def export_jsonl(entries: Iterable[Entry], path: str | Path) -> int:
    """Write a line for each document of each entry, or one without an id for a stale entry; give their number.

    The file appears whole or not at all. `import_jsonl` reads it.

    Args:
        entries: read once.
        path: the file; an ordinary one that is there is replaced, and of a link what it points to.

    Raises:
        ExpansionStoreError: the file cannot be written, or the store cannot be read.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        msg = f"{target} is a folder or a device; expected a file to write or to replace"
        raise ExpansionStoreError(msg)
    target = target.resolve()
    part = target.with_name(f"{target.name}.part")
    count = 0
    try:
        with part.open("w", encoding="utf-8") as file:
            for entry in entries:
                for document_id in entry.ids or (None,):
                    file.write(json.dumps(_line_of(entry, document_id), ensure_ascii=False) + "\n")
                    count += 1
        part.replace(target)
    except OSError as error:
        msg = f"{path} cannot be written ({error.strerror})"
        raise ExpansionStoreError(msg) from error
    return count


def _line_of(entry: Entry, document_id: str | None) -> dict[str, object]:
    outcome = entry.outcome
    line: dict[str, object] = {} if document_id is None else {"_id": document_id}
    line.update(outcome.expansion.as_dict())
    line.update(status=outcome.status, text_sha256=entry.text_hash, model=entry.recipe.model)
    if entry.recipe.version:
        line["prompt_version"] = entry.recipe.version
    if outcome.reason:
        line["reason"] = outcome.reason
    if outcome.raw:
        line["raw"] = outcome.raw
    return line


def _lines(path: Path) -> Iterator[_Line]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    yield _read(text, f"{path}, line {number}")
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror})"
        raise ExpansionStoreError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path} is not UTF-8"
        raise InputError(msg) from error


def _read(text: str, where: str) -> _Line:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"{where} is not JSON"
        raise InputError(msg) from error
    if not isinstance(values, dict):
        msg = f"{where} is {type(values).__name__}; expected an object with _id and keywords"
        raise InputError(msg)
    document_id, known = values.get("_id"), values.get("text_sha256")
    if isinstance(document_id, int) and not isinstance(document_id, bool):
        document_id = str(document_id)
    has_hash = isinstance(known, str) and _HASH.fullmatch(known) is not None
    if not (isinstance(document_id, str) or (document_id is None and has_hash)):
        msg = f"{where} has neither an _id that is text nor a text_sha256"
        raise InputError(msg)
    status = values.get("status", "done")
    if status not in STATUSES:
        msg = f"{where} has an unknown status; expected one of: {', '.join(STATUSES)}"
        raise InputError(msg)
    if not any(part in values for part in PARTS):
        msg = f"{where} has none of: {', '.join(PARTS)}"
        raise InputError(msg)
    try:
        expansion = Expansion.from_dict(values)
    except InputError as error:
        msg = f"{where}: {error}"
        raise InputError(msg) from error
    reason, raw = (str(values.get(name) or "") for name in ("reason", "raw"))
    return _Line(document_id, bytes.fromhex(str(known)) if has_hash else None, Outcome(status, expansion, reason, raw))
