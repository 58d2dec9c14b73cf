"""The statements by which entries are read and written, for the parts that share a transaction."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from limiar.inputs import encodable
from limiar.keywords.entries import Entry, Outcome, Recipe
from limiar.keywords.expansion import Expansion

PAGE = 400
_MOST_VALUES = 900  # SQLite before 3.32 takes 999
COLUMNS = "status, expansion, reason, answer, calls, prompt_tokens, completion_tokens, seconds, written"

Row = tuple[int, bytes, str, str, str, str, int, int, int, float, float]
_EXCLUDED = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS.split(", "))
REPLACE = f"ON CONFLICT (recipe, text) DO UPDATE SET {_EXCLUDED}"
UNLESS_FINISHED = f"{REPLACE} WHERE status NOT IN ('done', 'edited')"


def recipe_number(connection: sqlite3.Connection, recipe: Recipe, *, make: bool = False) -> int:
    """The number of a recipe in the tables; 0 if it is not there and not to be made."""
    row = connection.execute("SELECT id FROM recipes WHERE fingerprint = ?", (recipe.fingerprint,)).fetchone()
    if row is not None:
        return int(row[0])
    if not make:
        return 0
    insert = "INSERT INTO recipes (fingerprint, model, parameters, prompt, version) VALUES (?, ?, ?, ?, ?)"
    values = (recipe.fingerprint, recipe.model, recipe.parameters, recipe.prompt, recipe.version)
    return int(connection.execute(insert, values).lastrowid or 0)


def replace_outcome(connection: sqlite3.Connection, recipe: int, key: bytes, outcome: Outcome) -> None:
    """Write an entry, whatever there was before, and end the claim on it."""
    put_rows(connection, [entry_row(recipe, key, outcome)], REPLACE)


def name_documents(connection: sqlite3.Connection, documents: Iterable[tuple[str, bytes]]) -> None:
    """Write which text each document has now; of one that is named twice, the last."""
    known = "ON CONFLICT (id) DO UPDATE SET text = excluded.text WHERE text IS NOT excluded.text"
    iterator = iter(documents)
    while some := dict(islice(iterator, PAGE)):
        insert_rows(connection, "documents (id, text)", list(some.items()), known)


def insert_rows(connection: sqlite3.Connection, into: str, rows: Sequence[Sequence[object]], conflict: str) -> None:
    """Insert rows by few statements: each one lets other threads run, and so waits for its turn again."""
    if not rows:
        return
    size = max(1, _MOST_VALUES // len(rows[0]))
    one = f"({marks(rows[0])})"
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        statement = f"INSERT INTO {into} VALUES {','.join([one] * len(some))} {conflict}"  # noqa: S608
        connection.execute(statement, [value for row in some for value in row])


def put_rows(connection: sqlite3.Connection, rows: Sequence[Row], conflict: str) -> None:
    """Write entries, and end the claims on them."""
    insert_rows(connection, f"entries (recipe, text, {COLUMNS})", rows, conflict)
    for recipe in {row[0] for row in rows}:
        for keys in pages([row[1] for row in rows if row[0] == recipe]):
            statement = f"DELETE FROM claims WHERE recipe = ? AND text IN ({marks(keys)})"  # noqa: S608
            connection.execute(statement, [recipe, *keys])


def marks(values: Sequence[object]) -> str:
    """A question mark for each value."""
    return ",".join("?" * len(values))


def pages(keys: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The keys, so many at a time as a statement may have."""
    for start in range(0, len(keys), PAGE):
        yield list(keys[start : start + PAGE])


def entry_row(recipe: int, key: bytes, outcome: Outcome) -> Row:
    """An outcome as the table of entries has it."""
    expansion = json.dumps(outcome.expansion.as_dict(), ensure_ascii=False) if outcome.expansion else "{}"
    spent = (outcome.calls, outcome.prompt_tokens, outcome.completion_tokens, outcome.seconds)
    said = (outcome.status, encodable(expansion), outcome.reason, encodable(outcome.raw))
    return (recipe, key, *said, *spent, time.time())


def document_ids(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, list[str]]:
    """By text, the documents that have it now."""
    ids: dict[bytes, list[str]] = {}
    for some in pages(keys):
        query = f"SELECT text, id FROM documents WHERE text IN ({marks(some)}) ORDER BY id"  # noqa: S608
        for key, document_id in connection.execute(query, some):
            ids.setdefault(key, []).append(document_id)
    return ids


def entry_of(recipe: Recipe, key: bytes, ids: Mapping[bytes, Sequence[str]], row: Sequence[object]) -> Entry:
    """The entry of a row of `COLUMNS`."""
    status, expansion, reason, raw, calls, prompt_tokens, completion_tokens, seconds, written = row
    outcome = Outcome(
        status,  # type: ignore[arg-type]
        Expansion.from_dict(json.loads(str(expansion))),
        str(reason),
        str(raw),
        calls,  # type: ignore[arg-type]
        prompt_tokens,  # type: ignore[arg-type]
        completion_tokens,  # type: ignore[arg-type]
        seconds,  # type: ignore[arg-type]
    )
    return Entry(key.hex(), tuple(ids.get(key, ())), recipe, outcome, float(written))  # type: ignore[arg-type]
