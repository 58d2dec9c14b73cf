"""The files of an encoder folder, and the check that they are whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from limiar.errors import ModelDamagedError, ModelNotFoundError

BUNDLED_MODEL_DIR = Path(__file__).resolve().parent.parent / "models" / "e5-small-enpt"

ENCODER_XML = "encoder.xml"
ENCODER_BIN = "encoder.bin"
TOKENIZER = "tokenizer.json"
MANIFEST = "manifest.json"
CALIBRATION = "calibration.json"
_CHECKED = (ENCODER_XML, ENCODER_BIN, TOKENIZER)


def write_manifest(folder: Path, facts: dict[str, object]) -> None:
    """Record `facts` and the SHA-256 of the encoder's files in `manifest.json`."""
    digests = {name: _sha256(folder / name) for name in _CHECKED}
    manifest = {**facts, "sha256": digests}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, object]:
    """The manifest of `folder`, after comparing every file with its digest.

    Raises:
        ModelNotFoundError: there is no encoder in `folder`.
        ModelDamagedError: a file is missing or differs from its digest.
    """
    path = folder / MANIFEST
    if not path.is_file():
        msg = f"no encoder in {folder} ({MANIFEST} is missing); reinstall limiar, or build one: limiar model build"
        raise ModelNotFoundError(msg)
    try:
        manifest: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
        digests = dict(manifest["sha256"])  # type: ignore[call-overload]
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} is not a readable manifest ({error}); reinstall limiar, or rebuild it: limiar model build"
        raise ModelDamagedError(msg) from error
    for name in _CHECKED:
        file = folder / name
        if not file.is_file() or _sha256(file) != digests.get(name):
            msg = f"{file} is missing or damaged; reinstall limiar, or rebuild it: limiar model build"
            raise ModelDamagedError(msg)
    return manifest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
