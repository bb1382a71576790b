"""The published trainings against plain loops, written here in the manner of the released code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from images.samples import LABELS, NOISY, numbers, write_prepared
from torch import Tensor, nn
from torch.nn import functional

from mergershift.adaptation import Adaptation
from mergershift.archive import Domain
from mergershift.classifier.classifier import build_classifier, load_classifier
from mergershift.classifier.validation import Validation
from mergershift.config import Config, compose, instantiate
from mergershift.core.errors import UserError
from mergershift.images import LabelledImages, PairedBatches, Prepared
from mergershift.training.callbacks import RandomBatchStopping
from mergershift.training.datamodule import TransferData
from mergershift.training.fit import Result, train
from mergershift.training.task import TransferTask

CONF = Path(__file__).parents[2] / "conf"
EPOCHS = 5
SMALL = [
    "filters=two",
    "network.image_size=8",
    f"training.epochs={EPOCHS}",
    "training.batch_size=8",
    "training.candidates=1",
    "trainer.threads=1",
]
SIGMAS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 5, 10, 15, 20, 25, 30, 35, 100, 1e3, 1e4, 1e5, 1e6]
LABEL = torch.tensor(LABELS)


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    """Images whose noisy domain is split in another way than the pristine one."""
    folder = write_prepared(tmp_path / "images").folder
    table = pd.read_csv(folder / "rows.csv")
    table["split_noisy"] = np.roll(table["split"], 5)
    table["trains"] = "both"
    table.to_csv(folder / "rows.csv", index=False)
    return Prepared(folder)


def composed(*overrides: str) -> Config:
    return compose([*SMALL, *overrides], CONF)


def last_weights(result: Result, config: Config) -> dict[str, Tensor]:
    return load_classifier(result.models[config.training.epochs - 1], config).network.state_dict()


def parts(config: Config) -> tuple[nn.Module, Adaptation]:
    """Network and method with the weights with which a training begins."""
    pl.seed_everything(config.seed, verbose=False)
    network = build_classifier(config).network
    penalty = instantiate(config.adaptation.penalty, Adaptation)
    penalty.build(network.feature_size, 2)
    return network, penalty


def drawn(config: Config, prepared: Prepared) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The rows of both domains in every step."""
    data = TransferData(prepared, config, uses_target=True)
    for epoch in range(config.training.epochs):
        trainer: Any = SimpleNamespace(current_epoch=epoch)
        data.trainer = trainer
        for batch in data.train_dataloader():
            assert batch.target_images is not None
            target = torch.tensor(numbers(batch.target_images)) - NOISY
            yield torch.tensor(numbers(batch.source_images)), target


def pixels(prepared: Prepared, domain: str) -> Tensor:
    return torch.from_numpy(np.load(prepared.folder / f"{domain}-images.npy"))


def own_normalisation(images: Tensor) -> Tensor:
    """Every channel by its mean and deviation over all images, those of the test included."""
    return torch.stack([(part - part.mean()) / part.std(correction=0) for part in images.unbind(1)], dim=1)


def cyclic_rate(step: int, rate: float, cycle: int, steps_per_epoch: int) -> float:
    """The rate of the released code at a step."""
    length = int(cycle * steps_per_epoch * (1.0 - 0.1))
    place = step % length
    up = length // 2
    share = place / up if place <= up else 1 - (place - up) / (length - up)
    return rate / 10 + (rate - rate / 10) * share


def mmd(source: Tensor, target: Tensor) -> Tensor:
    def kernel(one: Tensor, other: Tensor) -> Tensor:
        squares = (one[:, None] - other[None]).square().sum(2)
        return torch.stack([torch.exp(-squares / (2 * sigma)).mean() for sigma in SIGMAS]).sum()

    return kernel(source, source) + kernel(target, target) - 2 * kernel(source, target)


def fisher(features: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    within = sum((features[labels == label] - centres[label]).square().sum() for label in (0, 1))
    between = (centres - (centres[0] + centres[1]) / 2).square().sum()
    return 0.01 * within / between


def entropy(logits: Tensor) -> Tensor:
    chances = logits.softmax(1)
    return -(chances * chances.log()).sum(1).mean()


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return rows * 1.0

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -1.0 * gradients[0]


def domain_loss(features: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    rows = Reversed.apply(features)
    for weight, bias in layers[:-1]:
        rows = functional.linear(rows, weight, bias).relu()
    chance = functional.linear(rows, *layers[-1]).sigmoid().view(-1)
    truth = torch.tensor([1.0, 0.0]).repeat_interleave(len(features) // 2)
    return functional.binary_cross_entropy(chance, truth)


def released_loop(config: Config, prepared: Prepared, method: str) -> dict[str, Tensor]:
    """Train as the released scripts do; returns the network's weights."""
    network, penalty = parts(config)
    learned = dict(penalty.named_parameters())
    centres = next((weight for name, weight in learned.items() if "centres" in name), None)
    own = [weight for name, weight in learned.items() if "domain" in name]
    layers = list(zip(own[::2], own[1::2], strict=True))
    groups: list[dict[str, Any]] = [{"params": list(network.parameters()), "factor": 1}]
    if centres is not None and "mmd" in method:
        groups.append({"params": [centres], "factor": 10})
    adversarial = "dann" in method
    cycle, decay = (8, 1e-4) if adversarial else (5, 1e-3)
    optimiser = torch.optim.Adam(
        groups, lr=1e-3, betas=(0.7, 0.8), weight_decay=decay, eps=1e-8, amsgrad="mmd" in method
    )
    images = {domain: own_normalisation(pixels(prepared, domain)) for domain in ("pristine", "noisy")}
    network.train()
    for step, (ours, theirs) in enumerate(drawn(config, prepared)):
        for group in optimiser.param_groups:
            group["lr"] = cyclic_rate(step, 1e-3, cycle, steps_per_epoch=2) * group["factor"]
        optimiser.zero_grad()
        labels = LABEL[ours]
        adapted = method != "source_only"
        assert theirs is not None
        both = torch.cat([images["pristine"][ours], images["noisy"][theirs]])
        features, logits = network(both if adapted else images["pristine"][ours])
        loss = functional.cross_entropy(logits[: len(ours)], labels)
        if "mmd" in method:
            loss = loss + mmd(features[: len(ours)], features[len(ours) :])
        if adversarial:
            loss = loss + domain_loss(features, layers)
        if "fisher" in method:
            assert centres is not None
            loss = loss + fisher(features[: len(ours)], labels, centres) + 0.05 * entropy(logits)
        loss.backward()
        optimiser.step()
    return network.state_dict()


def error(config: Config, prepared: Prepared, state: Path, expected: dict[str, Tensor]) -> float:
    """How far a training ends from the expected weights, as a share of how far these are from the initial ones.

    Adam divides by the size of gradients, and so enlarges the rounding of those that are nearly 0.
    """
    found = last_weights(train(config, prepared, state), config)
    initial = parts(config)[0].state_dict()
    names = [
        name for name, weight in expected.items() if weight.is_floating_point() and "running" not in name
    ]

    def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
        return float(sum((one[name] - other[name]).square().sum() for name in names)) ** 0.5

    return distance(found, expected) / distance(initial, expected)


PUBLISHED = ["training=deepmerge_2021_published", "network.dropout=0"]
SCRIPTS = {
    "source_only": PUBLISHED,
    "mmd": ["experiment=mmd_2021"],
    "mmd_fisher": ["experiment=mmd_fisher_2021"],
    "dann": ["experiment=dann_2021", "adaptation.penalty.dropout=0"],
    "dann_fisher": ["experiment=dann_fisher_2021", "adaptation.penalty.terms.0.dropout=0"],
}


@pytest.mark.parametrize("method", SCRIPTS)
def test_the_training_of_2021_follows_the_released_scripts(
    tmp_path: Path, prepared: Prepared, method: str
) -> None:
    """Epochs of two steps: without adaptation and with MMD, the rate rises, falls and begins anew."""
    # With both penalties, a change in the last digit of an initial weight alone ends in errors of 2e-3 to 9e-3.
    shorter = ["training.epochs=3"] if method == "dann_fisher" else []
    config = composed(*SCRIPTS[method], *shorter)
    expected = released_loop(config, prepared, method)
    assert error(config, prepared, tmp_path / "state", expected) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("mmd", "training.optimizer.amsgrad=false"),
        ("dann", "adaptation.penalty.rate=0.1"),
        ("dann", "training.cycle_length=5"),
        ("source_only", "training.normalisation=labelled_training"),
    ],
)
def test_the_test_above_would_notice_a_difference(
    tmp_path: Path, prepared: Prepared, method: str, change: str
) -> None:
    expected = released_loop(composed(*SCRIPTS[method]), prepared, method)
    assert error(composed(*SCRIPTS[method], change), prepared, tmp_path / "state", expected) > 6e-3


@pytest.mark.parametrize(("method", "others"), [("mmd_fisher", {10: 1}), ("dann_fisher", {})])
def test_the_centres_of_2021_learn_faster_or_not_at_all(
    prepared: Prepared, method: str, others: dict[int, int]
) -> None:
    """Only MMD's script gives them to the optimiser, and no script the domain classifier."""
    config = composed(*SCRIPTS[method])
    classifier = build_classifier(config)
    penalty = parts(config)[1]
    task = TransferTask(classifier, penalty, config, TransferData(prepared, config, uses_target=True))
    schedule = task.configure_optimizers()["lr_scheduler"]["scheduler"]
    groups = schedule.optimizer.param_groups
    weights = len(list(classifier.parameters()))
    found = {round(group["lr"] / 1e-4): len(group["params"]) for group in groups}
    assert found == {1: weights, **others}
    trained = {id(weight) for group in groups for weight in group["params"]}
    assert all((id(weight) in trained) == weight.requires_grad for weight in penalty.parameters())


def test_the_domain_classifier_of_2021_keeps_its_initial_weights() -> None:
    """It has the released deviations and no bias, and only the search script trains it."""
    for rate, trained in ((0.0, False), (0.1, True)):
        config = composed("experiment=dann_2021", f"adaptation.penalty.rate={rate}")
        _, penalty = parts(config)
        deviations = [
            float(w.detach().std()) for name, w in penalty.named_parameters() if name.endswith("weight")
        ]
        assert deviations == pytest.approx([0.01, 0.01, 0.3], rel=0.1)
        assert not any(w.any() for name, w in penalty.named_parameters() if name.endswith("bias"))
        assert all(penalty.learning_rate_factor(name) == rate for name, _ in penalty.named_parameters())
        assert (penalty.learning_rate_factor("domain_network.layers.0.weight") > 0) == trained
    with pytest.raises(UserError, match=r"deviations are \[0.1\], expected 3 positive numbers"):
        parts(composed("experiment=dann_2021", "adaptation.penalty.deviations=[0.1]"))
    with pytest.raises(UserError, match="expected spectral: false"):
        parts(composed("experiment=dann_2021", "adaptation.penalty.spectral=true"))
    with pytest.raises(UserError, match="rate is -1"):
        parts(composed("adaptation=fisher", "+adaptation.penalty.rate=-1"))


@pytest.mark.parametrize(("cycle", "length"), [(8, 612), (5, 382)])
def test_a_cycle_of_2021_is_nine_tenths_of_its_epochs(cycle: int, length: int) -> None:
    rows = LabelledImages(torch.zeros(10_798, 1, 1, 1), torch.zeros(10_798, dtype=torch.long))
    options: dict[str, Any] = {"batch_size": 128, "seed": 0, "epoch": 0, "augment": False}
    per_epoch = len(PairedBatches(rows, None, kind="drawn_anew", **options))
    assert (per_epoch, len(PairedBatches(rows, None, **options))) == (85, 84)
    settings = SimpleNamespace(cycle_length=cycle, epochs=200, schedule="triangular_2021")
    task: Any = SimpleNamespace(settings=settings, steps=200 * per_epoch)
    up, down = TransferTask._cycle(task)
    assert (up, up + down) == (length // 2, length)
    rates = [cyclic_rate(step, 1.0, cycle, per_epoch) for step in range(length + 1)]
    assert int(np.argmax(rates)) == up
    assert rates[length] == rates[0] == pytest.approx(0.1)


def released_counter(losses: list[float], patience: float) -> int | None:
    """The number of losses after which the released code stops; None if it does not."""
    best, counter = losses[0], 0.0
    for number, loss in enumerate(losses[1:], 2):
        worse = loss - best
        if worse < 0:
            best = loss
        elif worse >= 0.4:
            counter += 1
        elif worse >= 0.3:
            counter += 0.5
        elif worse >= 0.2:
            counter += 0.25
        elif worse >= 0.1:
            counter += 0.1
        if counter > patience:
            return number
    return None


@pytest.mark.parametrize("seed", range(5))
def test_the_counter_of_2021_never_resets(seed: int) -> None:
    losses = (0.7 + 0.15 * np.random.default_rng(seed).standard_normal(200)).tolist()
    rule, stopped = RandomBatchStopping(5), None
    for number, loss in enumerate(losses, 1):
        if number == 50:  # an interruption
            state, rule = rule.state_dict(), RandomBatchStopping(5)
            rule.load_state_dict(state)
        rule.add(loss)
        if rule.ended and stopped is None:
            stopped = number
    assert stopped == released_counter(losses, 5)
    assert stopped is not None


def test_the_rule_of_2021_stops_a_training(tmp_path: Path, prepared: Prepared, monkeypatch: Any) -> None:
    """The batches are those of validation images, in evaluation mode, and drawn anew after every epoch."""
    losses: list[float] = []
    added = RandomBatchStopping.add

    def add(rule: RandomBatchStopping, loss: float) -> None:
        losses.append(loss)
        added(rule, loss + 50 * (len(losses) > 1))

    monkeypatch.setattr(RandomBatchStopping, "add", add)
    result = train(composed(*PUBLISHED, "training.patience=2"), prepared, tmp_path / "state")
    assert (len(result.epochs), len(losses)) == (3, 4)
    # There are fewer than 64 validation images, so that a batch has them all.
    assert losses[1:] == pytest.approx([epoch["source_val_loss"] for epoch in result.epochs], rel=1e-5)


def test_each_domain_is_normalised_by_all_of_its_own_images(tmp_path: Path, prepared: Prepared) -> None:
    config = composed(*PUBLISHED)
    classifier = train(config, prepared, tmp_path / "state").classifier
    validation = Validation(config, prepared)
    for domain in Domain:
        stretch = validation.normalised(classifier, domain).stretch
        found = stretch(pixels(prepared, str(domain)))
        assert torch.allclose(found, own_normalisation(pixels(prepared, str(domain))), atol=1e-4), domain
    of_source = validation.for_source(classifier)
    assert torch.equal(
        of_source.stretch.mean, validation.normalised(classifier, Domain.PRISTINE).stretch.mean
    )
    with pytest.raises(UserError, match="each_domain, which no method can have that changes labelled images"):
        train(composed(*PUBLISHED, "adaptation=noise_injection"), prepared, tmp_path / "other")


def keras_loop(config: Config, prepared: Prepared) -> tuple[dict[str, Tensor], list[float]]:
    """Adam on raw images, with the incomplete batch; returns the weights and the validation losses."""
    network, _ = parts(config)
    raw, losses = pixels(prepared, "pristine"), []
    dense = [network.get_parameter(f"hidden.{number}.weight") for number in (0, 2)]
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-7)
    rows = drawn(config, prepared)
    validation = torch.tensor(prepared.rows("validation"))

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        odds = network(images).logits
        chance = (odds[:, 1] - odds[:, 0]).sigmoid()
        penalty = 1e-4 * torch.stack([weight.square().sum() for weight in dense]).sum()
        return functional.binary_cross_entropy(chance, labels.float()) + penalty

    for _ in range(config.training.epochs):
        network.train()
        sizes = []
        for ours, _ in (next(rows), next(rows)):
            sizes.append(len(ours))
            optimiser.zero_grad()
            loss(raw[ours], LABEL[ours]).backward()
            optimiser.step()
        assert sizes == [8, 6], "Keras trains on the incomplete batch too"
        network.eval()
        with torch.no_grad():
            losses.append(float(loss(raw[validation], LABEL[validation])))
    return network.state_dict(), losses


def test_the_training_of_2020_follows_the_notebook(tmp_path: Path) -> None:
    """Images are not normalised, and the loss that training stops on includes the weight penalty."""
    prepared = write_prepared(tmp_path / "images")
    config = composed("network=deepmerge_2020", "training=deepmerge_2020", "network.dropout=0")
    assert (config.training.stop_on, config.training.patience) == ("source_val_penalised_loss", 50)
    result = train(config, prepared, tmp_path / "state")
    expected, losses = keras_loop(config, prepared)
    found = last_weights(result, config)
    for name, weight in expected.items():
        assert torch.allclose(found[name], weight, rtol=1e-3, atol=2e-5), name
    assert [epoch["source_val_penalised_loss"] for epoch in result.epochs] == pytest.approx(losses, rel=1e-4)
    assert all(epoch["source_val_loss"] < epoch["source_val_penalised_loss"] for epoch in result.epochs)
