"""What cannot be trained is refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from images.samples import SIDE, write_prepared
from training.samples import config_of

from mergershift.classifier.requirements import require_trainable
from mergershift.config import Config
from mergershift.core.errors import UserError
from mergershift.images import Prepared

MMD = {"_target_": "mergershift.adaptation.mmd.MedianMMD", "factors": [1.0]}
FIXED = {"_target_": "mergershift.adaptation.weighting.Fixed", "trade_off": 1.0}


@pytest.fixture
def tiny(tmp_path: Path) -> Prepared:
    return write_prepared(tmp_path / "prepared")


def with_parts(**parts: Any) -> Config:
    config = config_of(network=deep_merge(SIDE))
    training = config.training.model_copy(
        update={"optimizer": parts.pop("optimizer", config.training.optimizer)}
    )
    network = parts.pop("network", config.network)
    adaptation = config.adaptation.model_copy(update=parts)
    return config.model_copy(update={"training": training, "network": network, "adaptation": adaptation})


def deep_merge(size: int) -> dict[str, Any]:
    return {"_target_": "mergershift.networks.deepmerge.DeepMerge", "image_size": size}


def test_what_can_be_trained_passes_and_draws_no_random_numbers(tiny: Prepared) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    require_trainable(with_parts(), tiny)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_trainer_for_gpus_is_refused_where_there_is_none(
    tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = with_parts()
    config = config.model_copy(update={"trainer": config.trainer.model_copy(update={"accelerator": "gpu"})})
    with pytest.raises(UserError, match="needs a GPU, but PyTorch finds none"):
        require_trainable(config, tiny)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (
            {"network": deep_merge(SIDE + 8)},
            r"network=\w+ does not accept the prepared images: images have shape",
        ),
        ({"network": FIXED}, "is no Network"),
        ({"penalty": FIXED}, "is no Adaptation"),
        ({"weighting": MMD}, "is no Weighting"),
        ({"optimizer": MMD}, "is no Optimizer"),
        ({"optimizer": {"_target_": "torch.optim.SGD", "lr": float("nan")}}, "lr is NaN"),
        ({"optimizer": {"_target_": "torch.optim.SGD", "speed": 1}}, "speed"),
    ],
)
def test_a_part_that_does_not_fit_is_refused(tiny: Prepared, parts: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected) as raised:
        require_trainable(with_parts(**parts), tiny)
    assert str(raised.value).count("\n") == 1
