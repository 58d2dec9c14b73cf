"""The settings of a `HybridIndex` as its manifest has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limiar.errors import ConfigurationError, StoreDamagedError
from limiar.retrieval.documents import checked_fields
from limiar.retrieval.index_schema import IndexSchema, schema_of
from limiar.retrieval.store import MANIFEST
from limiar.text.analyzer import Analyzer

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

FORMAT = "limiar-hybrid"
FORMAT_VERSION = 1
DOCUMENTS_FILE, BM25_FOLDER, CHROMA_FOLDER = "documents.sqlite", "bm25", "chroma"
FILES = (DOCUMENTS_FILE, f"{DOCUMENTS_FILE}-wal", f"{DOCUMENTS_FILE}-shm", BM25_FOLDER, CHROMA_FOLDER)
IN_FOLDER, BY_CLIENT = "folder", "client"


def settings_to_save(
    schema: IndexSchema, language: str, encoder: str, chroma: str | ClientAPI | None, collections: Mapping[str, str]
) -> dict[str, object]:
    """What the manifest keeps. Of a client nothing: it may hold secrets."""
    place = chroma if isinstance(chroma, str) else (IN_FOLDER if chroma is None else BY_CLIENT)
    return {
        "fields": dict(schema.fields),
        "views": {arm: list(views) for arm, views in schema.views.items()},
        "text_weight": schema.text_weight,
        "language": language,
        "encoder": encoder,
        "chroma": place,
        "collections": dict(collections),
    }


def saved_settings(folder: Path, manifest: Mapping[str, Any]) -> tuple[IndexSchema, Analyzer, dict[str, str]]:
    """The schema, the analyzer and the collections by name of vector.

    Raises:
        StoreDamagedError: the manifest lacks something, or it cannot be used.
    """
    try:
        schema = schema_of(checked_fields(manifest["fields"]), manifest["views"], manifest["text_weight"])
        collections = {name: str(manifest["collections"][name]) for name in schema.views["dense"]}
        return schema, Analyzer(manifest["language"]), collections
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{folder / MANIFEST} is damaged ({error}); restore it from a backup, or rebuild the index"
        raise StoreDamagedError(msg) from error


def saved_place(folder: Path, saved: object, given: str | ClientAPI | None) -> Path | str | ClientAPI:
    """Where the vectors are: in a folder of the index, at a server, or behind a client.

    Args:
        folder: of the index.
        saved: what the manifest says.
        given: what the caller says now.

    Raises:
        ConfigurationError: a client is needed and not given, or one is given in vain.
    """
    if saved == IN_FOLDER:
        if given is not None:
            msg = f"{folder} keeps its vectors in itself; leave chroma= out"
            raise ConfigurationError(msg)
        return folder / CHROMA_FOLDER
    if given is not None:
        return given
    if isinstance(saved, str) and saved != BY_CLIENT:
        return saved
    msg = f"{folder} was made with a Chroma client; give one to the same server as chroma="
    raise ConfigurationError(msg)
