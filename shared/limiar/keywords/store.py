"""Expansions on disk, so that no document is asked about twice: SQLite, shared by threads and processes."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from limiar.errors import ExpansionStoreError, InputError
from limiar.group_commit import GroupCommit
from limiar.inputs import encodable
from limiar.keywords.expansion import Expansion
from limiar.selection import check_choice
from limiar.sqlite_file import SqliteFile

if TYPE_CHECKING:
    from limiar.keywords.chat import ChatModel
    from limiar.keywords.jsonl import Imported
    from limiar.keywords.prompts import ExpansionPrompt

Status = Literal["done", "edited", "failed", "unanswered"]
STATUSES: tuple[str, ...] = get_args(Status)
"""done: by the model, or imported. edited: by hand. failed: asked, but the answer is of no use; its raw text is kept.
unanswered: the model gave no answer; the next run asks again."""

_VERSION = 1
_PAGE = 400
_MOST_VALUES = 900  # SQLite before 3.32 takes 999
_SCHEMA = (
    """
    CREATE TABLE recipes (
        id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, model TEXT NOT NULL, parameters TEXT NOT NULL,
        prompt TEXT NOT NULL, version TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE entries (
        recipe INTEGER NOT NULL, text BLOB NOT NULL, status TEXT NOT NULL, expansion TEXT NOT NULL,
        reason TEXT NOT NULL, answer TEXT NOT NULL, calls INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
        completion_tokens INTEGER NOT NULL, seconds REAL NOT NULL, written REAL NOT NULL, PRIMARY KEY (recipe, text)
    )
    """,
    "CREATE INDEX entries_by_status ON entries (recipe, status)",
    "CREATE TABLE documents (id TEXT PRIMARY KEY, text BLOB NOT NULL) WITHOUT ROWID",
    "CREATE INDEX documents_by_text ON documents (text)",
    """
    CREATE TABLE claims (
        recipe INTEGER NOT NULL, text BLOB NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (recipe, text)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX claims_by_owner ON claims (owner)",
    "CREATE TABLE owners (id TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, expires REAL NOT NULL)",
)
_NOTHING = Expansion()
_COLUMNS = "status, expansion, reason, answer, calls, prompt_tokens, completion_tokens, seconds, written"

_Row = tuple[int, bytes, str, str, str, str, int, int, int, float, float]
_EXCLUDED = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS.split(", "))
_REPLACE = f"ON CONFLICT (recipe, text) DO UPDATE SET {_EXCLUDED}"
_UNLESS_FINISHED = f"{_REPLACE} WHERE status NOT IN ('done', 'edited')"


@dataclass(frozen=True)
class Recipe:
    """What made an expansion, besides the document: entries of different recipes live side by side.

    Attributes:
        model: the model's name.
        parameters: its parameters, as JSON with sorted keys.
        prompt: the prompt's fingerprint.
        version: the prompt's version, for people.
    """

    model: str
    parameters: str
    prompt: str
    version: str

    @classmethod
    def of(cls, chat: ChatModel, prompt: ExpansionPrompt) -> Recipe:
        """The recipe of a model and a prompt."""
        parameters = json.dumps(dict(chat.parameters), sort_keys=True, default=str)
        return cls(chat.model_id, parameters, prompt.fingerprint, prompt.version)

    @classmethod
    def imported(cls, name: str = "imported") -> Recipe:
        """The recipe of expansions from elsewhere, under a name."""
        return cls(name, "{}", "", "")

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the model, its parameters and the prompt."""
        return hashlib.sha256(json.dumps([self.model, self.parameters, self.prompt]).encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """How a document fared. `raw` is the answer where it could not be used, `reason` says why, or what is missing."""

    status: Status
    expansion: Expansion = _NOTHING
    reason: str = ""
    raw: str = ""
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Entry:
    """What the store holds for a document's text.

    Attributes:
        text_hash: the SHA-256 of the text, in hex.
        ids: the documents that have this text now; none if each has changed since.
        recipe: what made it.
        outcome: the expansion, or why there is none.
        written: seconds since 1970.
    """

    text_hash: str
    ids: tuple[str, ...]
    recipe: Recipe
    outcome: Outcome
    written: float

    @property
    def stale(self) -> bool:
        """Whether no document has this text any more."""
        return not self.ids


def text_key(text: str) -> bytes:
    """What a document's text is known by: its SHA-256."""
    return hashlib.sha256(encodable(text).encode()).digest()


class ExpansionStore:
    """The expansions of one collection, by any number of models and prompts.

    An entry is known by the SHA-256 of its document's text and by its recipe: the model, its parameters and the prompt.
    A changed document or another prompt therefore asks anew, and touches no other entry. The texts themselves are not
    in the store. Threads and processes of one machine may share it; what `put` wrote survives a kill of the process,
    and a power cut takes the last seconds at most.

    Args:
        path: the file; made, with its folder, at the first use.

    Raises:
        ExpansionStoreError: in each method, the file cannot be opened, read or written, or is not such a store.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = SqliteFile(
            path,
            what="store of expansions",
            application="limk",
            version=_VERSION,
            schema=_SCHEMA,
            error=ExpansionStoreError,
            synchronous="NORMAL",
        )
        self.path = self._file.path
        self._writer = GroupCommit(self._write)

    @property
    def file(self) -> SqliteFile:
        """The file, for the parts of limiar that keep their own tables in it."""
        return self._file

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        self._file.close()

    def get(self, recipe: Recipe, text: str) -> Entry | None:
        """The entry of a text; None if there is none."""
        return self._entry(recipe, text_key(text))

    def usable(self, recipe: Recipe, texts: Sequence[str]) -> list[Expansion]:
        """The expansion of each text, in order; an empty one where there is none, or none that is of use."""
        keys = [text_key(text) for text in texts]
        found: dict[bytes, Expansion] = {}
        with self._file.opened("read") as connection:
            number = recipe_number(connection, recipe)
            for some in pages(list(dict.fromkeys(keys))):
                query = (
                    "SELECT text, expansion FROM entries WHERE recipe = ? AND status IN ('done', 'edited') "  # noqa: S608
                    f"AND text IN ({marks(some)})"
                )
                for key, expansion in connection.execute(query, [number, *some]):
                    found[key] = Expansion.from_dict(json.loads(expansion))
        return [found.get(key, Expansion()) for key in keys]

    def put(self, recipe: Recipe, text: str | bytes, outcome: Outcome) -> None:
        """Keep an outcome, on disk when this returns; one that is "done" or "edited" already is not replaced.

        Args:
            recipe: what made it.
            text: the document's text, or its `text_key`.
            outcome: how it fared.
        """
        self._writer.put((recipe, _key(text), outcome))

    def edit(self, recipe: Recipe, text: str | bytes, expansion: Expansion) -> None:
        """Keep an expansion by hand, whatever there was before. No run replaces it."""
        with self._file.writing() as connection:
            number = recipe_number(connection, recipe, make=True)
            replace_outcome(connection, number, _key(text), Outcome("edited", expansion))

    def forget(self, recipe: Recipe, text: str | bytes) -> bool:
        """Drop an entry, so that the next run asks again. Whether there was one."""
        with self._file.writing() as connection:
            number = recipe_number(connection, recipe)
            done = connection.execute("DELETE FROM entries WHERE recipe = ? AND text = ?", (number, _key(text)))
            return done.rowcount > 0

    def of_document(self, document_id: str, recipe: Recipe | None = None) -> list[Entry]:
        """The entries of a document's present text, of one recipe or of all."""
        with self._file.opened("read") as connection:
            row = connection.execute("SELECT text FROM documents WHERE id = ?", (document_id,)).fetchone()
        if row is None:
            return []
        recipes = [recipe] if recipe is not None else self.recipes()
        return [entry for each in recipes if (entry := self._entry(each, row[0])) is not None]

    def key_of_document(self, document_id: str) -> bytes:
        """The `text_key` of a document's present text.

        Raises:
            InputError: no run and no import named the document.
        """
        with self._file.opened("read") as connection:
            row = connection.execute("SELECT text FROM documents WHERE id = ?", (document_id,)).fetchone()
        if row is None:
            msg = f"the store knows no document {document_id!r}; run or import it first"
            raise InputError(msg)
        return bytes(row[0])

    def recipes(self) -> list[Recipe]:
        """The recipes that there are entries of, the oldest first."""
        query = "SELECT model, parameters, prompt, version FROM recipes WHERE id IN (SELECT recipe FROM entries)"
        with self._file.opened("read") as connection:
            return [Recipe(*row) for row in connection.execute(f"{query} ORDER BY id")]

    def entries(
        self, recipe: Recipe | None = None, *, status: Status | None = None, stale: bool | None = None
    ) -> Iterator[Entry]:
        """All entries, or those of a recipe, of a status, or whose text no document has any more (`stale`).

        Read in pages: the store may be written meanwhile, and memory does not grow with it.

        Raises:
            ConfigurationError: there is no such status.
        """
        if status is not None:
            check_choice("status", status, STATUSES)
        for each in [recipe] if recipe is not None else self.recipes():
            for entry in self._of_recipe(each, status):
                if stale is None or entry.stale == stale:
                    yield entry

    def stats(self, recipe: Recipe | None = None) -> dict[str, int]:
        """How many entries there are of each status, how many are "stale", and the "claimed" ones under way."""
        counts = dict.fromkeys((*STATUSES, "stale", "claimed", "calls", "prompt_tokens", "completion_tokens"), 0)
        counted = "SELECT status, count(*), sum(calls), sum(prompt_tokens), sum(completion_tokens) FROM entries"
        stale = "SELECT count(*) FROM entries WHERE text NOT IN (SELECT text FROM documents)"
        with self._file.opened("read") as connection:
            where, given = "", []
            if recipe is not None:
                where, given = "recipe = ?", [recipe_number(connection, recipe)]
            filtered = f" WHERE {where}" if where else ""
            for status, count, *sums in connection.execute(f"{counted}{filtered} GROUP BY status", given):
                counts[status] = count
                for name, total in zip(("calls", "prompt_tokens", "completion_tokens"), sums, strict=True):
                    counts[name] += total
            also = f" AND {where}" if where else ""
            (counts["stale"],) = connection.execute(f"{stale}{also}", given).fetchone()
            (counts["claimed"],) = connection.execute(f"SELECT count(*) FROM claims{filtered}", given).fetchone()  # noqa: S608
        return counts

    def means(self, recipe: Recipe) -> tuple[float, float, float] | None:
        """Calls, completion tokens and seconds for a document, as this recipe's entries took; None without any."""
        query = "SELECT count(*), sum(calls), sum(completion_tokens), sum(seconds) FROM entries WHERE calls > 0"
        with self._file.opened("read") as connection:
            number = recipe_number(connection, recipe)
            count, *sums = connection.execute(f"{query} AND recipe = ?", (number,)).fetchone()
        return (sums[0] / count, sums[1] / count, sums[2] / count) if count else None

    def name_documents(self, documents: Iterable[tuple[str, str]]) -> None:
        """Say which documents there are, as (id, text): so that entries are shown by id, and stale ones known."""
        with self._file.writing() as connection:
            name_documents(connection, ((document_id, text_key(text)) for document_id, text in documents))

    def import_jsonl(
        self,
        path: str | Path,
        texts: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        *,
        recipe: Recipe | None = None,
        replace: bool = False,
    ) -> Imported:
        """Take expansions from a file of lines: see `limiar.keywords.jsonl.import_jsonl`."""
        from limiar.keywords.jsonl import import_jsonl

        return import_jsonl(self, path, texts, recipe=recipe, replace=replace)

    def export_jsonl(self, path: str | Path, recipe: Recipe | None = None) -> int:
        """Write the entries to a file of lines: see `limiar.keywords.jsonl.export_jsonl`."""
        from limiar.keywords.jsonl import export_jsonl

        return export_jsonl(self, path, recipe)

    def _write(self, some: Sequence[tuple[Recipe, bytes, Outcome]]) -> None:
        with self._file.writing() as connection:
            numbers = {recipe: recipe_number(connection, recipe, make=True) for recipe, _, _ in some}
            rows = [_row(numbers[recipe], key, outcome) for recipe, key, outcome in some]
            _put_rows(connection, rows, _UNLESS_FINISHED)

    def _entry(self, recipe: Recipe, key: bytes) -> Entry | None:
        query = f"SELECT {_COLUMNS} FROM entries WHERE recipe = ? AND text = ?"  # noqa: S608
        with self._file.opened("read") as connection:
            row = connection.execute(query, (recipe_number(connection, recipe), key)).fetchone()
            return None if row is None else _entry_of(recipe, key, _ids(connection, [key]), row)

    def _of_recipe(self, recipe: Recipe, status: str | None) -> Iterator[Entry]:
        last = b""
        while True:
            query = (
                f"SELECT text, {_COLUMNS} FROM entries WHERE recipe = ? AND text > ? AND status = ifnull(?, status) "  # noqa: S608
                f"ORDER BY text LIMIT {_PAGE}"
            )
            with self._file.opened("read") as connection:
                rows = connection.execute(query, (recipe_number(connection, recipe), last, status)).fetchall()
                ids = _ids(connection, [row[0] for row in rows])
            for key, *row in rows:
                yield _entry_of(recipe, key, ids, row)
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]


# Statements that the parts which share a transaction have in common


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
    _put_rows(connection, [_row(recipe, key, outcome)], _REPLACE)


def name_documents(connection: sqlite3.Connection, documents: Iterable[tuple[str, bytes]]) -> None:
    """Write which text each document has now; of one that is named twice, the last."""
    known = "ON CONFLICT (id) DO UPDATE SET text = excluded.text WHERE text IS NOT excluded.text"
    iterator = iter(documents)
    while some := dict(islice(iterator, _PAGE)):
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


def _put_rows(connection: sqlite3.Connection, rows: Sequence[_Row], conflict: str) -> None:
    """Write entries, and end the claims on them."""
    insert_rows(connection, f"entries (recipe, text, {_COLUMNS})", rows, conflict)
    for recipe in {row[0] for row in rows}:
        for keys in pages([row[1] for row in rows if row[0] == recipe]):
            statement = f"DELETE FROM claims WHERE recipe = ? AND text IN ({marks(keys)})"  # noqa: S608
            connection.execute(statement, [recipe, *keys])


def marks(values: Sequence[object]) -> str:
    """A question mark for each value."""
    return ",".join("?" * len(values))


def pages(keys: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The keys, so many at a time as a statement may have."""
    for start in range(0, len(keys), _PAGE):
        yield list(keys[start : start + _PAGE])


def _row(recipe: int, key: bytes, outcome: Outcome) -> _Row:
    expansion = json.dumps(outcome.expansion.as_dict(), ensure_ascii=False) if outcome.expansion else "{}"
    spent = (outcome.calls, outcome.prompt_tokens, outcome.completion_tokens, outcome.seconds)
    said = (outcome.status, encodable(expansion), outcome.reason, encodable(outcome.raw))
    return (recipe, key, *said, *spent, time.time())


def _key(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text_key(text)


def _ids(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, list[str]]:
    ids: dict[bytes, list[str]] = {}
    for some in pages(keys):
        query = f"SELECT text, id FROM documents WHERE text IN ({marks(some)}) ORDER BY id"  # noqa: S608
        for key, document_id in connection.execute(query, some):
            ids.setdefault(key, []).append(document_id)
    return ids


def _entry_of(recipe: Recipe, key: bytes, ids: Mapping[bytes, Sequence[str]], row: Sequence[object]) -> Entry:
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
