"""The few numbers that turn the bundled scorer's features into a logit, as a file."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from limiar.errors import ModelDamagedError, ModelNotFoundError

FEATURES = ("maxsim", "cosine", "phrase")


@dataclass(frozen=True)
class Calibration:
    """logit = intercept + sum of weight x feature.

    Attributes:
        encoder: SHA-256 of the encoder's weights that the numbers were fitted with.
        weights: one for each of `FEATURES`.
        intercept: added to the sum.
        centre: the mean unit token vector (384,), taken off token and pooled vectors before they are compared.
        recipe: how the numbers came about: data, seed, scores.
    """

    encoder: str
    weights: tuple[float, ...]
    intercept: float
    centre: tuple[float, ...]
    recipe: dict[str, object] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), ensure_ascii=False) + "\n", encoding="utf-8")


def load_calibration(path: Path, encoder: str) -> Calibration:
    """Read a calibration and check that it was fitted with this encoder.

    Raises:
        ModelNotFoundError: there is no such file.
        ModelDamagedError: it cannot be read, holds numbers that are not finite, or belongs to another encoder.
    """
    if not path.is_file():
        msg = f"no calibration at {path}; make one: limiar model calibrate --data DIR"
        raise ModelNotFoundError(msg)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        calibration = Calibration(
            str(raw["encoder"]),
            tuple(float(w) for w in raw["weights"]),
            float(raw["intercept"]),
            tuple(float(c) for c in raw["centre"]),
            dict(raw["recipe"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} is not a readable calibration ({error}); make one: limiar model calibrate --data DIR"
        raise ModelDamagedError(msg) from error
    numbers = (*calibration.weights, calibration.intercept, *calibration.centre)
    if len(calibration.weights) != len(FEATURES) or not all(map(math.isfinite, numbers)):
        msg = f"{path} does not hold {len(FEATURES)} finite weights; make one: limiar model calibrate --data DIR"
        raise ModelDamagedError(msg)
    if calibration.encoder != encoder:
        msg = f"{path} was fitted with another encoder; make one for this: limiar model calibrate --data DIR"
        raise ModelDamagedError(msg)
    return calibration
