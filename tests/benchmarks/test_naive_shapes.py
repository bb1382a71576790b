import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from naive_shapes import best_threshold, feature_names, measure


def _gaussian(x: float = 0.0, width: float = 4.0) -> np.ndarray:
    offsets = np.arange(75) - 37
    return np.exp(-((offsets[None, :] - x) ** 2 + offsets[:, None] ** 2) / (2 * width**2))


def _measured(*images: np.ndarray) -> dict[str, np.ndarray]:
    stack = np.stack([np.stack([image, 2 * image, 4 * image]) for image in images]).astype(np.float32)
    return dict(zip(feature_names(), measure(stack).T, strict=True))


def test_a_centred_round_galaxy() -> None:
    found = _measured(_gaussian())
    assert found["asymmetry f814w"] == pytest.approx(0, abs=1e-6)
    assert found["peak f160w"] == pytest.approx(np.log10(2))
    assert found["flux f814w"] == pytest.approx(np.log10(2 * np.pi * 16), abs=1e-3)
    assert found["half_light f356w"] == pytest.approx(4 * np.sqrt(2 * np.log(2)), abs=0.5)
    assert found["colour f814w-f160w"] == pytest.approx(-np.log10(2))


def test_companions_raise_the_asymmetry_and_compact_light_the_gini_coefficient() -> None:
    found = _measured(_gaussian(), _gaussian() + _gaussian(x=10), _gaussian(width=1.5), np.ones((75, 75)))
    assert found["inner_asymmetry f356w"][1] > 0.3
    assert found["gini f356w"][2] > found["gini f356w"][0]
    assert found["gini f356w"][3] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_threshold_separates_the_classes_with_either_sign(sign: int) -> None:
    labels = np.repeat([0, 1], 50)
    values = sign * (labels + np.random.default_rng(0).uniform(-0.4, 0.4, 100))
    threshold, found = best_threshold(values, labels)
    assert found == sign
    assert np.array_equal(found * values > found * threshold, labels == 1)
