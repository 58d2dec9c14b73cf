"""The bundled Portuguese and English encoder: multilingual-e5-small, pruned to the two languages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from limiar.embeddings.engine import EncoderEngine, FloatArray
from limiar.embeddings.model_files import BUNDLED_MODEL_DIR, ENCODER_XML, TOKENIZER, read_manifest
from limiar.errors import ModelDamagedError
from limiar.inputs import check_texts, encodable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Role = Literal["query", "passage"]

DIMENSIONS = 384
MAX_TOKENS = 512
WINDOW_OVERLAP = 128
MAX_WINDOWS = 32
_TEXTS_PER_ROUND = 512


@dataclass(frozen=True)
class TokenWindow:
    """A stretch of a text that fits the encoder at once.

    Attributes:
        ids: its content pieces, without prefix and special pieces.
        start, end: the characters of the text that it covers.
    """

    ids: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class TokenizedText:
    """A text in windows. `truncated`: it has more of them than are encoded."""

    windows: tuple[TokenWindow, ...]
    truncated: bool


@dataclass(frozen=True)
class _Loaded:
    tokenizer: Tokenizer
    engine: EncoderEngine
    prefixes: dict[str, list[int]]
    bos: int
    eos: int


class BundledEncoder:
    """Mean-pooled sentence vectors and token vectors from one small encoder, on the CPU, with no download.

    The model is loaded at its first use (about half a second) or by `warm_up()`. Thread-safe. Texts longer than the
    encoder's 512 pieces are encoded in windows that overlap by 128 pieces, at most 32 of them.

    Args:
        folder: an encoder folder made by `limiar model build`; None for the one in the package.
        device: an OpenVINO device name ("CPU", "GPU", ...).

    Example:
        >>> encoder = BundledEncoder()
        >>> encoder.embed_query("O que é quórum?").shape
        (384,)
    """

    def __init__(self, folder: str | Path | None = None, *, device: str = "CPU") -> None:
        self.folder = Path(folder) if folder is not None else BUNDLED_MODEL_DIR
        self.device = device
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    @property
    def model_id(self) -> str:
        return f"limiar/{self.folder.name}"

    @property
    def dimensions(self) -> int:
        return DIMENSIONS

    def warm_up(self) -> None:
        """Load the model now.

        Raises:
            ModelNotFoundError: the folder holds no encoder.
            ModelDamagedError: a file of it is missing or damaged.
        """
        self._model()

    def embed_query(self, text: str) -> FloatArray:
        """The vector of a query: float32 (384,), of length 1."""
        vector: FloatArray = self._embed([text], "query", None)[0]
        return vector

    def embed_documents(
        self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None
    ) -> FloatArray:
        """The vectors of documents: float32 (len(texts), 384), each of length 1.

        Args:
            texts: documents; a blank one gets the vector of an empty passage.
            progress: called with (done, total) as the work goes on.

        Raises:
            InputTypeError: a text is not a string.
        """
        return self._embed(texts, "passage", progress)

    def tokenize(self, text: str, *, overlap: int = WINDOW_OVERLAP) -> TokenizedText:
        """`text` in windows that fit the encoder."""
        return self.tokenize_batch([text], overlap=overlap)[0]

    def tokenize_batch(self, texts: Sequence[str], *, overlap: int = WINDOW_OVERLAP) -> list[TokenizedText]:
        """Each text in windows that fit the encoder."""
        model = self._model()
        encodings = model.tokenizer.encode_batch([encodable(text) for text in texts], add_special_tokens=False)
        size = MAX_TOKENS - 2 - max(map(len, model.prefixes.values()))
        return [_windows(e.ids, e.offsets, size, overlap) for e in encodings]

    def token_vectors(
        self, windows: Sequence[TokenWindow], role: Role, progress: Callable[[int], None] | None = None
    ) -> list[FloatArray]:
        """The last hidden states of each window: float32 (2 + prefix + content pieces, 384).

        The content pieces are rows `content_rows(role)` onwards, without the last row.
        """
        model = self._model()
        framed = [[model.bos, *model.prefixes[role], *window.ids, model.eos] for window in windows]
        return model.engine.encode(framed, progress)

    def content_rows(self, role: Role) -> slice:
        """The rows of `token_vectors` that belong to the text itself."""
        return slice(1 + len(self._model().prefixes[role]), -1)

    def piece_scores(self) -> FloatArray:
        """The Unigram log probability of every piece of the vocabulary, float32 (pieces,)."""
        import json

        path = self.folder / TOKENIZER
        vocabulary = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
        return np.array([score for _, score in vocabulary], dtype=np.float32)

    def _embed(self, texts: Sequence[str], role: Role, progress: Callable[[int, int], None] | None) -> FloatArray:
        checked = check_texts(texts)
        vectors = np.empty((len(checked), DIMENSIONS), np.float32)
        for start in range(0, len(checked), _TEXTS_PER_ROUND):
            end = min(start + _TEXTS_PER_ROUND, len(checked))
            vectors[start:end] = self._embed_round(checked[start:end], role)
            if progress is not None:
                progress(end, len(checked))
        return vectors

    def _embed_round(self, texts: Sequence[str], role: Role) -> FloatArray:
        tokenized = self.tokenize_batch(texts, overlap=0)
        hidden = iter(self.token_vectors([window for text in tokenized for window in text.windows], role))
        return np.stack([mean_pooled([next(hidden) for _ in text.windows]) for text in tokenized])

    def _model(self) -> _Loaded:
        if self._loaded is None:
            with self._lock:
                if self._loaded is None:
                    self._loaded = self._load()
        return self._loaded

    def _load(self) -> _Loaded:
        from tokenizers import Tokenizer

        read_manifest(self.folder)
        try:
            tokenizer = Tokenizer.from_file(str(self.folder / TOKENIZER))
        except Exception as error:
            msg = f"{self.folder / TOKENIZER} cannot be read; reinstall limiar, or rebuild it: limiar model build"
            raise ModelDamagedError(msg) from error
        bos, eos, pad = (_piece_id(tokenizer, piece) for piece in ("<s>", "</s>", "<pad>"))
        engine = EncoderEngine(self.folder / ENCODER_XML, pad, self.device)
        prefixes = {role: tokenizer.encode(f"{role}:", add_special_tokens=False).ids for role in ("query", "passage")}
        return _Loaded(tokenizer, engine, prefixes, bos, eos)


_shared_lock = threading.Lock()
_shared: BundledEncoder | None = None


def shared_encoder() -> BundledEncoder:
    """The process-wide encoder over the package's own model: loaded once, however many parts use it."""
    global _shared  # noqa: PLW0603
    with _shared_lock:
        if _shared is None:
            _shared = BundledEncoder()
        return _shared


def mean_pooled(windows: Sequence[FloatArray]) -> FloatArray:
    """The mean over all rows of all windows, scaled to length 1: float32 (hidden,)."""
    total = sum((window.sum(axis=0, dtype=np.float64) for window in windows), np.zeros(windows[0].shape[1]))
    pooled = total / sum(len(window) for window in windows)
    scaled: FloatArray = (pooled / max(float(np.linalg.norm(pooled)), 1e-12)).astype(np.float32)
    return scaled


def _windows(ids: list[int], offsets: list[tuple[int, int]], size: int, overlap: int) -> TokenizedText:
    if len(ids) <= size:
        end = offsets[-1][1] if offsets else 0
        return TokenizedText((TokenWindow(tuple(ids), 0, end),), truncated=False)
    windows: list[TokenWindow] = []
    for start in range(0, len(ids) - overlap, size - overlap):
        if len(windows) == MAX_WINDOWS:
            return TokenizedText(tuple(windows), truncated=True)
        end = min(start + size, len(ids))
        windows.append(TokenWindow(tuple(ids[start:end]), offsets[start][0], offsets[end - 1][1]))
    return TokenizedText(tuple(windows), truncated=False)


def _piece_id(tokenizer: Tokenizer, piece: str) -> int:
    number = tokenizer.token_to_id(piece)
    if number is None:
        msg = f"the tokenizer has no piece {piece!r}; rebuild it: limiar model build"
        raise ModelDamagedError(msg)
    return int(number)
