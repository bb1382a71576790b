"""The pre-training as a command, and trainings that start from its folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from cells.samples import NOBODY, prepare_tiny, write_checkout

from mergershift.cells.layout import PRETRAINED, PRETRAINING
from mergershift.config import Config, compose
from mergershift.core.errors import UserError
from mergershift.core.reading import read_json
from mergershift.stages.initial import initialised
from mergershift.stages.pretrain import Pretraining, pretrain_step, pretrained_folder

SMALL = ["filters=two", "network.image_size=8", "trainer.threads=1", f"tracking.uri='{NOBODY}'"]
SELF_TAUGHT = [*SMALL, "experiment=pretrained", "pretraining.epochs=2", "pretraining.batch_size=8"]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(write_checkout(tmp_path / "checkout"))
    prepare_tiny(compose(SMALL))
    return compose(SELF_TAUGHT)


def test_writes_a_classifier_with_its_record_and_a_training_starts_from_it(config: Config) -> None:
    output = pretrained_folder(config)
    lines = pretrain_step(config, output)
    record = read_json(output / PRETRAINING, Pretraining, "")
    assert sorted(path.name for path in output.iterdir()) == ["config.yaml", PRETRAINED, PRETRAINING]
    assert [path.name for path in output.parent.iterdir()] == [output.name], "no checkpoint is left"
    assert (record.images, len(record.losses), record.split) == (20, 2, config.split)
    assert 0 <= record.linear_probe <= 1
    assert f"{record.linear_probe:.3f} on pristine validation images" in lines
    assert "2 epochs on 20 unlabelled images of both domains" in lines
    trained, start = initialised(str(output), [*SMALL, "training.frozen_features=true"])
    assert start.weights == output / PRETRAINED
    assert trained.start is not None
    assert trained.start.training == record.digest


@pytest.mark.parametrize("disjoint", [False, True])
def test_the_other_direction_can_start_from_it_unless_the_domains_show_different_galaxies(
    config: Config, disjoint: bool
) -> None:
    split = f"split.disjoint_domains={str(disjoint).lower()}"
    prepare_tiny(compose([*SMALL, split]), disjoint=disjoint)
    config = compose([*SELF_TAUGHT, split, "pretraining.batch_size=4"])
    output = pretrained_folder(config)
    pretrain_step(config, output)
    reverse = [*SMALL, split, "transfer=noisy_to_pristine"]
    if disjoint:
        with pytest.raises(UserError, match="Pre-train with the same transfer"):
            initialised(str(output), reverse)
    else:
        assert initialised(str(output), reverse)[0].start is not None, "it has seen no label of either domain"


def test_another_split_may_test_on_its_galaxies(config: Config) -> None:
    output = pretrained_folder(config)
    pretrain_step(config, output)
    with pytest.raises(UserError, match="another split"):
        initialised(str(output), [*SMALL, "split.seed=1"])


def test_two_pretrainings_of_one_network_raise_a_user_error(config: Config) -> None:
    with pytest.raises(UserError, match="pre-trains its network, and --init"):
        initialised("somewhere", SELF_TAUGHT)


def test_a_configuration_without_pretraining_raises_a_user_error(config: Config) -> None:
    plain = compose(SMALL)
    with pytest.raises(UserError, match="experiment=default has no pretraining"):
        pretrain_step(plain, pretrained_folder(config))
