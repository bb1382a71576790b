"""A training over several processes is that of one process, and no process outlives another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest
import torch
from images.samples import write_prepared
from torch import Tensor, nn
from torch.nn import functional
from training import slow_training
from training.ranks import Ranks, ranks

from mergershift.cells.layout import MODELS
from mergershift.classifier.devices import require_devices
from mergershift.config import Config, compose
from mergershift.core.errors import UserError
from mergershift.core.processes import environment
from mergershift.images import Prepared
from mergershift.networks import Activations
from mergershift.training.fit import train
from mergershift.training.job import Fitted, Job, fit
from mergershift.training.share import ALONE, Share, Split

CONF = Path(__file__).parents[2] / "conf"
PROCESSES = 2
SMALL = [
    "filters=two",
    "network.image_size=8",
    "training.epochs=3",
    "training.batch_size=5",  # several batches, none of which two processes can divide evenly
    "trainer=ddp",
    f"trainer.processes={PROCESSES}",
]
SGD = [
    "training.optimizer._target_=torch.optim.SGD",
    "training.optimizer.lr=0.05",
    "+training.optimizer.momentum=0.9",
]
METHODS = {
    "source_only": ["adaptation=source_only"],
    "noise": ["adaptation=noise_injection"],
    "penalty": ["adaptation=mmd", "network.dropout=0.2"],
    "learnt penalty": ["adaptation=dann", "adaptation.penalty.dropout=0.3"],
    "learnt weights": ["adaptation=sidda", "training.optimizer.lr=0.0005"],
    "domains apart": ["adaptation=deep_astro_uda"],
    "dropout": ["adaptation=fisher", "network=deepmerge_2020", "training.optimizer.lr=0.005"],
}


@pytest.fixture(scope="module")
def together() -> Iterator[Ranks]:
    with ranks(PROCESSES) as started:
        yield started


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return write_prepared(tmp_path_factory.mktemp("ddp") / "images")


def job(config: Config, data: Prepared, state: Path) -> Job:
    (state / MODELS).mkdir(parents=True)
    return Job(config, data, state, None, None)


def both(together: Ranks, overrides: list[str], data: Prepared, folder: Path) -> tuple[Fitted, Fitted]:
    """The same training in one process and in several."""
    return fit_both(together, compose([*SMALL, *overrides], CONF), data, folder)


def fit_both(together: Ranks, config: Config, data: Prepared, folder: Path) -> tuple[Fitted, Fitted]:
    alone = config.model_copy(update={"trainer": config.trainer.model_copy(update={"processes": 1})})
    return fit(job(alone, data, folder / "one"), ALONE), together.fit(job(config, data, folder / "all"))


def gradients(fitted: Fitted) -> dict[str, Tensor]:
    """The gradients of the first step, with which the optimiser begins its momentum."""
    state = fitted.task.trainer.optimizers[0].state
    return {
        name: state[weight]["momentum_buffer"]
        for name, weight in fitted.task.named_parameters()
        if weight in state
    }


def difference(one: Fitted, other: Fitted) -> float:
    """The largest difference of a weight or a running statistic, relative to the largest of its tensor above 1."""
    first, second = one.task.state_dict(), other.task.state_dict()
    assert first.keys() == second.keys()
    return max(
        float((value.double() - second[name].double()).abs().max() / value.double().abs().max().clamp_min(1))
        for name, value in first.items()
    )


def of_metrics(one: Fitted, other: Fitted) -> float:
    """The largest difference of a metric of an epoch."""
    assert len(one.epochs) == len(other.epochs)
    pairs = zip(one.epochs, other.epochs, strict=True)
    return max(abs(value - second[name]) for first, second in pairs for name, value in first.items())


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_of_a_step_is_that_of_one_process(
    together: Ranks, data: Prepared, tmp_path: Path, method: str
) -> None:
    """Of network, method and learnt weights; the weighted mean over the classes is that of the whole batch.

    The narrow kernels of the MMD enlarge rounding errors the most, to 1.2e-6 of its largest gradient.
    """
    once = ["training.epochs=1", "training.batch_size=9"]
    one, several = both(together, [*SGD, *METHODS[method], *once], data, tmp_path)
    assert one.task.trainer.global_step == several.task.trainer.global_step == 1
    first, second = gradients(one), gradients(several)
    assert first.keys() == second.keys() != set()
    largest = max(float(gradient.abs().max()) for gradient in first.values())
    worst = max(float((gradient - second[name]).abs().max()) for name, gradient in first.items())
    assert worst < 2e-6 * max(1, largest)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_all_weights_and_metrics_are_those_of_one_process(
    together: Ranks, data: Prepared, tmp_path: Path, method: str
) -> None:
    one, several = both(together, [*SGD, *METHODS[method]], data, tmp_path)
    assert difference(one, several) < 1e-5
    assert of_metrics(one, several) < 1e-5


@pytest.mark.slow
def test_a_learnt_penalty_may_join_the_loss_later(together: Ranks, data: Prepared, tmp_path: Path) -> None:
    """Until then its weights have no gradient, and one process leaves them as they are."""
    penalty = compose([*SMALL, *SGD, *METHODS["learnt penalty"]], CONF).adaptation.penalty
    config = compose([*SMALL, *SGD, *METHODS["learnt weights"], "adaptation.weighting.warm_up=0.5"], CONF)
    adaptation = config.adaptation.model_copy(update={"penalty": penalty})
    one, several = fit_both(together, config.model_copy(update={"adaptation": adaptation}), data, tmp_path)
    assert difference(one, several) < 1e-5
    assert of_metrics(one, several) < 1e-5


def test_the_metrics_with_the_default_optimiser_are_those_of_one_process(
    together: Ranks, data: Prepared, tmp_path: Path
) -> None:
    """The gradient of a bias before batch normalisation is a rounding error, which AdamW scales to a full step.

    The normalisation removes that bias, so that it does not change what the network computes.
    """
    one, several = both(together, METHODS["penalty"], data, tmp_path)
    assert of_metrics(one, several) < 1e-4


@pytest.mark.slow
def test_only_one_process_writes(together: Ranks, data: Prepared, tmp_path: Path) -> None:
    both(together, ["training.candidates=2"], data, tmp_path)
    names = [
        sorted(path.relative_to(folder) for path in folder.rglob("*"))
        for folder in (tmp_path / "one", tmp_path / "all")
    ]
    assert names[0] == names[1]


def start(data: Prepared, state: Path, errors: IO[bytes], overrides: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, slow_training.__file__, str(data.folder), str(state), str(CONF), *overrides]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment())


def after_an_epoch(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Wait until an epoch and its checkpoint are finished; returns the processes that the training has started."""
    assert process.stdout is not None
    assert process.stdout.readline().strip().isdecimal()
    assert process.stdout.readline().strip().isdecimal()
    children = psutil.Process(process.pid).children()
    assert len(children) == PROCESSES - 1
    return children


@pytest.mark.system
def test_a_training_ends_with_each_of_its_processes_and_resumes_with_the_same_result(
    together: Ranks, data: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First a scheduler signals all processes, then one is killed, then that of rank 0."""
    overrides = [*SMALL, *METHODS["penalty"], "training.epochs=6"]
    config, state, errors = compose(overrides, CONF), tmp_path / "state", tmp_path / "errors"
    for attempt in ("signal to all", "rank 1 killed", "rank 0 killed"):
        with errors.open("wb") as log, start(data, state, log, overrides) as process:
            others = after_an_epoch(process)
            began = time.monotonic()
            if attempt == "signal to all":
                for each in (*others, psutil.Process(process.pid)):
                    each.send_signal(signal.SIGUSR1)
            else:
                (others[0] if attempt == "rank 1 killed" else process).kill()
            code = process.wait(30)
            psutil.wait_procs(others, timeout=30)
            assert not any(other.is_running() for other in others)
            assert time.monotonic() - began < 15
        said = errors.read_text()
        if attempt == "rank 1 killed":
            assert code == 1
            assert said.startswith("Process 2 of 2 of the training was killed by signal 9")
            assert len(said.splitlines()) == 2
        else:
            assert code == (128 + signal.SIGUSR1 if attempt == "signal to all" else -signal.SIGKILL)
            assert said == ""
    counts: list[int] = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    resumed = train(config, data, state, lambda epochs, _: counts.append(len(epochs)))
    assert counts[0] == 4, "each attempt has finished an epoch"
    assert torch.get_num_threads() == config.trainer.threads
    assert "OMP_NUM_THREADS" not in os.environ
    whole = together.fit(job(config, data, tmp_path / "whole"))
    assert resumed.epochs == whole.epochs


@pytest.mark.slow
def test_an_error_of_one_process_is_that_of_all(together: Ranks, data: Prepared, tmp_path: Path) -> None:
    """What a training raises, it raises in the process that somebody has started."""
    nan = [*SMALL, *SGD, "training.optimizer.lr=1e30"]
    with pytest.raises(UserError, match="diverged in epoch 0"):
        train(compose(nan, CONF), data, tmp_path / "state")


def test_the_rows_of_all_processes_are_those_of_the_batch() -> None:
    parts = [Split(Share(rank, 3), [7, 4]).own for rank in range(3)]
    assert sorted(torch.cat(parts).tolist()) == list(range(11))
    assert [len(part) for part in parts] == [3 + 2, 2 + 1, 2 + 1]


class Noisy(nn.Module):
    def forward(self, images: Tensor) -> Activations:
        rows = functional.alpha_dropout(images.flatten(1), 0.5, training=self.training)
        return Activations(rows, rows[:, :2])


def test_a_network_that_draws_other_random_numbers_than_dropout_is_refused() -> None:
    with pytest.raises(UserError, match="random numbers in alpha_dropout") as raised:
        Share(0, 2).activations(Noisy(), torch.ones(4, 1, 2, 2))
    assert str(raised.value).count("\n") == 1
    assert len(ALONE.activations(Noisy(), torch.ones(4, 1, 2, 2)).logits) == 4


def test_fewer_gpus_than_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        UserError, match="trainer=ddp needs 2 GPUs, one for each process, but PyTorch finds 1 GPU"
    ):
        require_devices(compose(SMALL, CONF))
    require_devices(compose([*SMALL, "trainer.accelerator=cpu"], CONF))


def test_a_single_process_leaves_no_trace_in_the_configuration() -> None:
    """Otherwise every training that was recorded before would have another hash."""
    assert "processes" not in compose(["trainer=cpu"], CONF).dump()["trainer"]
    several = compose(SMALL, CONF)
    assert several.dump()["trainer"]["processes"] == PROCESSES
    assert Config.model_validate(several.dump()).digest() == several.digest()
