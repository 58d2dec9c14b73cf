"""The bundled encoder when the work is interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

from limiar import BundledEncoder

LONG = [f"{number}: o quórum do cluster, com dois de três votos" + " e mais um" * 100 for number in range(40)]
_INTERRUPTED = f"""
import signal
from limiar import BundledEncoder
encoder = BundledEncoder()
windows = [window for text in encoder.tokenize_batch({LONG!r}) for window in text.windows]
signals = [signal.SIGINT]
encoder.token_vectors(windows, "passage", lambda _: signals and signal.raise_signal(signals.pop()))
"""


@pytest.fixture(scope="module")
def encoder() -> BundledEncoder:
    return BundledEncoder()


@pytest.mark.skipif(sys.platform == "win32", reason="a process there does not end by a signal")
def test_an_interrupted_process_ends_as_interrupted_ones_do() -> None:
    done = subprocess.run([sys.executable, "-c", _INTERRUPTED], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGINT
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")


def test_after_an_interruption_the_vectors_are_those_of_their_texts(encoder: BundledEncoder) -> None:
    windows = [window for text in encoder.tokenize_batch(LONG) for window in text.windows]
    right = encoder.embed_documents(LONG)
    signals = [signal.SIGINT]
    with pytest.raises(KeyboardInterrupt):
        encoder.token_vectors(windows, "passage", lambda _: signals and signal.raise_signal(signals.pop()))
    assert np.allclose(encoder.embed_documents(LONG), right, atol=1e-5)
