"""The loss, term by term, and the parameters that it trains."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from images.samples import LABELS, NOISY, write_prepared
from scipy.special import log_softmax
from torch import Tensor
from training.samples import LIGHTER, Witness, config_of, fit, task_of

from mergershift.images import Prepared

BRIGHTNESS = {"_target_": "networks.samples.Brightness"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return write_prepared(tmp_path_factory.mktemp("task") / "images")


def rows_of(features: Tensor) -> list[int]:
    """The rows of the images from which `Brightness` computed its features."""
    return torch.floor(features[:, 0]).long().tolist()


def mean_loss(images: Tensor, labels: Tensor, *, balanced: bool = False, limit: float = 16.0) -> float:
    """Cross-entropy of `Brightness`; if balanced, the mean of the means of both classes."""
    means = images.double().mean((2, 3))[:, 0].numpy()
    logits = np.stack([np.zeros(len(means)), 0.1 * (limit - means)], axis=1)
    losses = -log_softmax(logits, axis=1)[np.arange(len(means)), labels.numpy()]
    if not balanced:
        return float(losses.mean())
    return float(np.mean([losses[labels.numpy() == label].mean() for label in (0, 1)]))


def test_a_penalty_gets_the_labelled_domain_first_and_the_target_second(prepared: Prepared) -> None:
    config, witness = config_of(epochs=1), Witness()
    fit(task_of(config, prepared, witness), config, prepared)
    ((source, target, labels),) = witness.seen
    train = prepared.rows("train").tolist()
    assert sorted(rows_of(source.features)) == train
    assert labels.tolist() == LABELS[rows_of(source.features)].tolist()
    assert sorted(rows_of(target.features)) == [NOISY + row for row in train]
    assert source.logits.shape == target.logits.shape == (len(train), 2)


def test_a_penalty_without_a_target_gets_the_labelled_domain_twice(prepared: Prepared) -> None:
    config, witness = config_of(epochs=1), Witness(uses_target=False)
    fit(task_of(config, prepared, witness), config, prepared)
    ((source, target, _),) = witness.seen
    assert max(rows_of(source.features)) < NOISY
    assert torch.equal(source.features, target.features)


class Apart(Witness):
    """A penalty for which each domain is normalised by its own statistics."""

    separate_domains = True


def test_domains_that_are_separated_leave_the_statistics_of_the_labelled_one(prepared: Prepared) -> None:
    network = {"_target_": "mergershift.networks.deepmerge.DeepMerge", "channels": 2, "image_size": 8}
    config, found = config_of(network, epochs=2), []
    for witness in (Witness(uses_target=False), Apart(), Witness()):
        task = task_of(config, prepared, witness)
        fit(task, config, prepared)
        (norm, *_) = (part for part in task.classifier.modules() if isinstance(part, torch.nn.BatchNorm2d))
        assert norm.running_mean is not None
        found.append(norm.running_mean)
    alone, apart, together = found
    torch.testing.assert_close(apart, alone)
    assert (together - alone).abs().max() > 0.1


def test_the_loss_is_the_sum_of_classification_weighted_penalty_and_regularisation(
    prepared: Prepared,
) -> None:
    """The weight of the penalty follows the progress, from 0 in the first step to nearly all in the last."""
    network = BRIGHTNESS | {"weight_penalty": 200.0}
    ramp = {"_target_": "mergershift.adaptation.weighting.Ramp", "trade_off": 2.0, "gamma": 4.0}
    config = config_of(network, weighting=ramp, epochs=4)
    metrics = fit(task_of(config, prepared, Witness()), config, prepared)
    for step, epoch in enumerate(metrics):
        weight = 2 * (2 / (1 + math.exp(-4 * step / 4)) - 1)
        assert epoch["penalty_weight"] == pytest.approx(weight, abs=1e-6)
        assert epoch["train_penalty"] == 3
        expected = epoch["train_classification_loss"] + weight * 3 + 200 * 0.1**2
        assert epoch["train_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("rows", ["unique", "all"])
def test_both_classes_have_equal_weight_in_both_losses_if_configured(
    prepared: Prepared, balanced: bool, rows: str
) -> None:
    """The share of mergers differs between training and validation rows, so the two have different weights."""
    weights = "balanced" if balanced else "none"
    config = config_of(epochs=1, class_weights=weights, validation_rows=rows)
    (metrics,) = fit(task_of(config, prepared, Witness()), config, prepared)
    domain = config.transfer.labelled_domain
    for name, chosen in {
        "train_classification_loss": prepared.rows("train"),
        "source_val_loss": prepared.rows("validation", unique=rows == "unique"),
    }.items():
        expected = mean_loss(*prepared.labelled(domain, chosen), balanced=balanced)
        assert metrics[name] == pytest.approx(expected, rel=1e-5)


def test_an_epochs_loss_is_the_mean_over_images_also_where_batches_have_different_sizes(
    prepared: Prepared,
) -> None:
    rows = prepared.rows("train")
    size = len(rows) // 2 + 1
    assert len(rows) % size
    config = config_of(epochs=2, batches="all", batch_size=size)
    metrics = fit(task_of(config, prepared, Witness()), config, prepared)
    images, labels = prepared.labelled(config.transfer.labelled_domain, rows)
    assert metrics[0]["train_classification_loss"] == pytest.approx(mean_loss(images, labels), rel=1e-5)
    assert metrics[1]["train_classification_loss"] == pytest.approx(mean_loss(images, labels), rel=1e-5)


def test_a_method_changes_labelled_images_in_training_and_validation(prepared: Prepared) -> None:
    """It changes no image of the target."""
    limit = LIGHTER + 16
    config = config_of(BRIGHTNESS | {"limit": limit}, epochs=1)
    witness = Witness(lighten=True)
    (metrics,) = fit(task_of(config, prepared, witness), config, prepared)
    ((source, target, _),) = witness.seen
    train = prepared.rows("train")
    assert sorted(rows_of(source.features)) == [LIGHTER + row for row in train]
    assert sorted(rows_of(target.features)) == [NOISY + row for row in train]
    validation = prepared.labelled(config.transfer.labelled_domain, prepared.rows("validation", unique=True))
    expected = mean_loss(validation.images + LIGHTER, validation.labels, limit=limit)
    assert metrics["source_val_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("limit", "correct_mergers", "correct_others"), [(16, 2, 3), (23.5, 2, 1), (4.5, 1, 3), (30, 2, 0)]
)
def test_validation_accuracy_is_the_share_of_correct_classifications(
    prepared: Prepared, limit: float, correct_mergers: int, correct_others: int
) -> None:
    """Rows 4 and 5 are mergers, 22 to 24 are not; an image fainter than the limit is classified as a merger."""
    config = config_of(BRIGHTNESS | {"limit": limit}, epochs=1)
    (metrics,) = fit(task_of(config, prepared, Witness()), config, prepared)
    assert metrics["source_val_accuracy"] == pytest.approx((correct_mergers + correct_others) / 5)
    assert metrics["source_val_balanced_accuracy"] == pytest.approx(correct_mergers / 4 + correct_others / 6)


def test_all_trainable_parameters_are_trained(prepared: Prepared) -> None:
    """Those of the network, those of the method, and the learned weights of the losses."""
    config = config_of(
        penalty={"_target_": "mergershift.adaptation.fisher.Fisher", "w_intra": 0.01, "w_inter": 1.0},
        weighting={"_target_": "mergershift.adaptation.weighting.Learned", "warm_up": 0.0},
        epochs=1,
        optimizer={"_target_": "torch.optim.SGD", "lr": 1e-3},
    )
    task = task_of(config, prepared)
    before = {name: weight.detach().clone() for name, weight in task.named_parameters()}
    fit(task, config, prepared)
    assert {name.split(".")[0] for name in before} == {"classifier", "penalty", "weighting"}
    assert [name for name, weight in task.named_parameters() if torch.equal(weight, before[name])] == []


def rates(prepared: Prepared, steps: int, **training: Any) -> list[float]:
    """The learning rate of every step."""
    optimizer = {"_target_": "torch.optim.SGD", "lr": 0.02}
    config = config_of(epochs=steps, optimizer=optimizer, **training)
    configured = task_of(config, prepared, Witness()).configure_optimizers()
    found = []
    for _ in range(steps):
        found.append(configured["optimizer"].param_groups[0]["lr"])
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
    return found


def test_the_one_cycle_rate_rises_to_the_configured_rate_and_falls_to_almost_zero(prepared: Prepared) -> None:
    found = rates(prepared, 19, schedule="one_cycle")
    assert max(found) == found[1] == pytest.approx(0.02)
    assert found[0] < 0.002
    assert found[1:] == sorted(found[1:], reverse=True)
    assert found[-1] < 0.001


@pytest.mark.parametrize("steps", [1, 2, 8, 9, 10])
def test_the_one_cycle_rate_is_defined_for_few_steps(prepared: Prepared, steps: int) -> None:
    found = rates(prepared, steps, schedule="one_cycle")
    assert all(0 < rate <= 0.02 for rate in found)
