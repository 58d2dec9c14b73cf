"""What every index directory needs: a manifest written atomically and checked on reading, and one writer at a time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from limiar.errors import (
    MissingExtraError,
    StoreDamagedError,
    StoreError,
    StoreLockedError,
    StoreNotFoundError,
    StoreVersionError,
    StoreWriteError,
)

if TYPE_CHECKING:
    from filelock import BaseFileLock

MANIFEST = "manifest.json"
LOCK = "write.lock"


def write_manifest(folder: Path, kind: str, version: int, facts: dict[str, object]) -> None:
    """Write `manifest.json` so that it is there whole or not at all, also after a power cut.

    Raises:
        StoreWriteError: the folder cannot be written.
    """
    path = folder / MANIFEST
    part = folder / f"{MANIFEST}.part"
    text = json.dumps({"format": kind, "version": version, **facts}, indent=2) + "\n"
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(folder)
    except OSError as error:
        msg = f"{path} cannot be written ({error.strerror})"
        raise StoreWriteError(msg) from error


def read_manifest(folder: Path, kind: str, version: int) -> dict[str, object]:
    """The facts in the manifest of `folder`.

    Raises:
        StoreNotFoundError: there is no manifest.
        StoreDamagedError: it cannot be read, or is of another kind of store.
        StoreVersionError: a newer limiar wrote it.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, object] = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        msg = f"no {kind} index in {folder} ({MANIFEST} is missing); create one first"
        raise StoreNotFoundError(msg) from error
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read ({type(error).__name__}); restore it from a backup, or rebuild the index"
        raise StoreDamagedError(msg) from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != kind:
        msg = f"{path} is no manifest of a {kind} index (format: {found!r}); choose another folder"
        raise StoreDamagedError(msg)
    written = manifest.get("version")
    if not isinstance(written, int) or written < 1:
        msg = f"{path} has version {written!r}; expected a number from 1; restore it, or rebuild the index"
        raise StoreDamagedError(msg)
    if written > version:
        msg = f"{folder} has format version {written}; this limiar reads up to {version}: upgrade limiar"
        raise StoreVersionError(msg)
    return manifest


def lock_for_writing(folder: Path) -> BaseFileLock:
    """Take the folder's write lock, which the operating system frees when this process ends, however it ends.

    Raises:
        StoreLockedError: another writer has it, in this process or another.
        StoreWriteError: the folder cannot be written.
        MissingExtraError: filelock is not installed.
    """
    try:
        from filelock import FileLock, Timeout
    except ImportError as error:
        feature = "an index on disk"
        raise MissingExtraError(feature, "bm25") from error
    lock = FileLock(folder / LOCK, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        msg = f"another writer has {folder} open; close it first, or in Python open this one with read_only=True"
        raise StoreLockedError(msg) from error
    except OSError as error:
        msg = f"{folder} cannot be written ({error.strerror}); open it with read_only=True to search"
        raise StoreWriteError(msg) from error
    return lock


def clear_unfinished(folder: Path, ours: Sequence[str]) -> None:
    """Remove from `folder` what a `create` that was killed left behind.

    Args:
        folder: of the index to be made.
        ours: the names of its files and folders.

    Raises:
        StoreError: there is an index, or anything else.
    """
    if (folder / MANIFEST).exists():
        msg = f"{folder} already holds an index; open it, or choose another folder"
        raise StoreError(msg)
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in {LOCK, f"{MANIFEST}.part", *ours})
    if foreign:
        msg = f"{folder} holds other files ({', '.join(foreign[:3])}); choose a new or an empty folder"
        raise StoreError(msg)
    for name in ours:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
