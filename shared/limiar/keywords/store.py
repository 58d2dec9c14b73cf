"""Expansions on disk, so that no document is asked about twice: SQLite, shared by threads and processes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from limiar.errors import ConfigurationError, ExpansionStoreError, InputError
from limiar.group_commit import GroupCommit
from limiar.keywords.entries import STATUSES, Entry, Outcome, Recipe, Status, text_key
from limiar.keywords.entry_rows import (
    COLUMNS,
    PAGE,
    UNLESS_FINISHED,
    document_ids,
    entry_of,
    entry_row,
    marks,
    name_documents,
    pages,
    put_rows,
    recipe_number,
    replace_outcome,
)
from limiar.keywords.expansion import Expansion
from limiar.keywords.jsonl import Imported, export_jsonl, import_jsonl
from limiar.selection import check_choice
from limiar.sqlite_file import SqliteFile

_VERSION = 1
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
        return import_jsonl(self._file, path, texts, recipe=recipe, replace=replace)

    def export_jsonl(self, path: str | Path, recipe: Recipe | None = None) -> int:
        """Write the entries to a file of lines: see `limiar.keywords.jsonl.export_jsonl`."""
        return export_jsonl(self.entries(recipe), path)

    def _write(self, some: Sequence[tuple[Recipe, bytes, Outcome]]) -> None:
        with self._file.writing() as connection:
            numbers = {recipe: recipe_number(connection, recipe, make=True) for recipe, _, _ in some}
            rows = [entry_row(numbers[recipe], key, outcome) for recipe, key, outcome in some]
            put_rows(connection, rows, UNLESS_FINISHED)

    def _entry(self, recipe: Recipe, key: bytes) -> Entry | None:
        query = f"SELECT {COLUMNS} FROM entries WHERE recipe = ? AND text = ?"  # noqa: S608
        with self._file.opened("read") as connection:
            row = connection.execute(query, (recipe_number(connection, recipe), key)).fetchone()
            return None if row is None else entry_of(recipe, key, document_ids(connection, [key]), row)

    def _of_recipe(self, recipe: Recipe, status: str | None) -> Iterator[Entry]:
        last = b""
        while True:
            query = (
                f"SELECT text, {COLUMNS} FROM entries WHERE recipe = ? AND text > ? AND status = ifnull(?, status) "  # noqa: S608
                f"ORDER BY text LIMIT {PAGE}"
            )
            with self._file.opened("read") as connection:
                rows = connection.execute(query, (recipe_number(connection, recipe), last, status)).fetchall()
                ids = document_ids(connection, [row[0] for row in rows])
            for key, *row in rows:
                yield entry_of(recipe, key, ids, row)
            if len(rows) < PAGE:
                return
            last = rows[-1][0]


def _key(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text_key(text)


def check_store(store: object) -> ExpansionStore:
    """`store` itself, if it is one; else `ConfigurationError`."""
    if not isinstance(store, ExpansionStore):
        msg = f"store is {type(store).__name__}; expected a limiar.ExpansionStore"
        raise ConfigurationError(msg)
    return store
