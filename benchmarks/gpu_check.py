"""Does everything that trains and predicts work on this machine's GPU? Step times and memory beside the verdicts.

    python benchmarks/gpu_check.py                      # every method; under 8 minutes
    python benchmarks/gpu_check.py --methods mmd,dann   # some of them

Makes a small mock, then checks each method of conf/adaptation/ on it: two epochs with trainer=gpu in full and in
bf16-mixed precision, finite losses, and the first step's losses equal to the CPU's within 1e-4. Gradients may differ by
as much as single precision costs on the CPU itself, measured beside double precision. A training is killed with SIGKILL
and resumed, and has to end in the weights of one that was not. A model trained on the GPU is exported as it is
registered and has to predict the same on both. Exits with 1 where a check fails, and with 0, saying so, on a machine
without a GPU.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mergershift.adaptation import Adaptation
from mergershift.archive.mock import write_archive
from mergershift.classifier.classifier import build_classifier, full_precision
from mergershift.config import Config, compose, instantiate
from mergershift.core.processes import set_environment_defaults
from mergershift.images import Prepared, prepare
from mergershift.networks import CLASSES, Activations
from mergershift.registry import COLUMNS, ExportableModel, fit_distance
from mergershift.training.fit import Result, train

CONF = Path(__file__).parents[1] / "conf"
AGREEMENT = 1e-4
"""Largest difference between CPU and GPU in full precision, relative to the larger of 1 and the value."""
ROUNDING = 4
"""Largest difference of gradients, in units of the CPU's own rounding error: some penalties are ill-conditioned."""
EPOCHS = 2


@dataclass
class Checks:
    """What was checked and what came of it."""

    failed: list[str] = field(default_factory=list)

    def report(self, name: str, passed: bool, detail: str) -> None:
        """Print one line and remember a failure."""
        print(f"{'ok  ' if passed else 'FAIL'} {name:<42} {detail}", flush=True)
        if not passed:
            self.failed.append(name)

    def run(self, name: str, check: Callable[[], tuple[bool, str]]) -> None:
        """Carry out a check; an exception is a failure and does not stop the others."""
        try:
            passed, detail = check()
        except Exception as error:
            passed, detail = (
                False,
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            )
        self.report(name, passed, detail)


def configuration(
    method: str, precision: str, device: str, epochs: int = EPOCHS, settings: tuple[str, ...] = ()
) -> Config:
    """A short training of a method."""
    return compose(
        [
            f"adaptation={method}",
            "filters=two",
            f"trainer={'gpu' if device == 'cuda' else 'cpu_one_thread'}",
            f"trainer.precision={precision}",
            f"training.epochs={epochs}",
            "training.candidates=0",
            *settings,
        ],
        CONF,
    )


def trains(config: Config, prepared: Prepared, folder: Path) -> tuple[bool, str]:
    """Train and look at every loss; also the time of a step and the peak of the GPU's memory."""
    on_gpu = config.trainer.accelerator == "gpu"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    ends: list[float] = []
    result = train(config, prepared, folder, lambda epochs, classifier: ends.append(time.perf_counter()))
    losses = result.table.filter(regex="loss|penalty$")
    finite = bool(np.isfinite(losses.to_numpy()).all())
    steps = len(prepared.rows("train", trains="source", unique=True)) // config.training.batch_size
    seconds = (ends[-1] - ends[0]) / (len(ends) - 1) / max(1, steps)
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else float("nan")
    loss = losses["train_loss"].iloc[-1]
    return finite, f"loss {loss:.4f}, {1000 * seconds:.1f} ms a step, {peak:.0f} MiB at most"


def first_step(
    config: Config, prepared: Prepared, device: str, dtype: torch.dtype = torch.float32
) -> dict[str, float]:
    """Losses and gradients of the first step on a device, without dropout, whose draws differ between devices."""
    torch.manual_seed(0)
    classifier = build_classifier(config)
    penalty = instantiate(config.adaptation.penalty, Adaptation)
    penalty.build(classifier.network.feature_size, CLASSES)
    rows = prepared.rows("train", trains="source", unique=True)
    chosen = rows[:: max(1, len(rows) // 64)][:64]
    labelled = prepared.labelled(config.transfer.labelled_domain, chosen)
    target = prepared.images(config.transfer.target, chosen)
    classifier.stretch.fit(labelled.images)
    images = penalty.labelled_images(labelled.images, torch.Generator().manual_seed(0))
    for module in [*classifier.modules(), *penalty.modules()]:
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    classifier.train().to(device, dtype)
    penalty.train().to(device, dtype)
    labels = labelled.labels.to(device)
    both = classifier(torch.cat([images, target]).to(device, dtype))
    split = len(labels)
    source_part, target_part = (
        Activations(*(part[half] for part in both)) for half in (slice(split), slice(split, None))
    )
    classification = functional.cross_entropy(source_part.logits, labels)
    transfer = penalty(source_part, target_part, labels)
    (classification + transfer).backward()
    norm = torch.stack(
        [weight.grad.double().norm() for weight in classifier.parameters() if weight.grad is not None]
    ).norm()
    found = {"classification": classification, "penalty": transfer, "gradient": norm}
    return {name: float(value.detach()) for name, value in found.items()}


def agrees(config: Config, prepared: Prepared, device: str) -> tuple[bool, str]:
    """Compare the first step on both devices, in full precision; see `AGREEMENT` and `ROUNDING`."""
    with full_precision():
        there, here = (first_step(config, prepared, place) for place in (device, "cpu"))
    exact = first_step(config, prepared, "cpu", torch.float64)
    rounding = _difference(here["gradient"], exact["gradient"])
    allowed = {
        "classification": AGREEMENT,
        "penalty": AGREEMENT,
        "gradient": max(AGREEMENT, ROUNDING * rounding),
    }
    found = {name: _difference(there[name], here[name]) for name in here}
    detail = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
    return all(found[name] <= allowed[name] for name in found), f"{detail} (rounding {rounding:.1e})"


def _difference(one: float, other: float) -> float:
    return abs(one - other) / max(1.0, abs(other))


def resumes(prepared: Prepared, folder: Path, device: str) -> tuple[bool, str]:
    """Kill a training in its second epoch, resume it, and compare its weights with an uninterrupted one's."""
    config = configuration("mmd", "32-true", device, epochs=4)
    places = [str(prepared.folder), str(folder / "killed")]
    command = [sys.executable, __file__, "--device", device, "--train-slowly", *places]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 1"):
            process.send_signal(signal.SIGKILL)
    status = process.wait()
    seen: list[int] = []
    resumed = train(config, prepared, folder / "killed", lambda epochs, classifier: seen.append(len(epochs)))
    whole = train(config, prepared, folder / "whole")
    difference = largest_difference(resumed, whole)
    passed = status == -signal.SIGKILL and seen[0] > 1 and difference == 0
    return (
        passed,
        f"killed by signal {-status}, resumed with epoch {seen[0]}, weights differ by {difference:.1e}",
    )


def largest_difference(one: Result, other: Result) -> float:
    """Of the weights of two trainings."""
    pairs = zip(one.classifier.state_dict().values(), other.classifier.state_dict().values(), strict=True)
    return max(float((first.double() - second.double()).abs().max()) for first, second in pairs)


def train_slowly(prepared: Path, state: Path, device: str) -> None:
    """Train until killed, printing the number of each finished epoch."""

    def on_epoch(epochs: list[dict[str, float]], _classifier: object) -> None:
        print(f"epoch {len(epochs) - 1}", flush=True)
        if len(epochs) > 1:
            time.sleep(60)

    train(configuration("mmd", "32-true", device, epochs=4), Prepared(prepared), state, on_epoch)


def predicts(prepared: Prepared, folder: Path, device: str) -> tuple[bool, str]:
    """Train on the GPU, export as a registered model is, and compare its predictions on both devices."""
    from mergershift.tracking.exported_models import load_program, save_program

    config = configuration("coral", "32-true", device)
    classifier = train(config, prepared, folder / "state").classifier
    images = prepared.images(config.transfer.target, prepared.rows("validation", unique=True)[:64])
    with torch.inference_mode():
        features = classifier(images).features.double().numpy()
    model = ExportableModel([classifier], [fit_distance(features[::2], features[1::2])])
    save_program(model, images[:2].numpy(), list(COLUMNS), folder / "model", [])
    with torch.inference_mode():
        exported = load_program(folder / "model")(images).numpy()
        with full_precision():
            on_gpu = model.to(device)(images.to(device)).cpu().numpy()
    difference = float(np.abs(exported - on_gpu).max())
    return difference <= AGREEMENT, f"{len(images)} images, columns differ by {difference:.1e}"


def pretrains(prepared: Prepared, folder: Path, device: str) -> tuple[bool, str]:
    """Pre-train, and train the head of the network alone."""
    settings = ("experiment=pretrained_frozen", "pretraining.epochs=1", "pretraining.batch_size=32")
    config = configuration("mmd", "32-true", device, settings=settings)
    return trains(config, prepared, folder)


def methods(chosen: str | None) -> Iterator[str]:
    """Names of the methods to check."""
    known = sorted(path.stem for path in (CONF / "adaptation").glob("*.yaml"))
    yield from (chosen.split(",") if chosen else known)


@click.command()
@click.option("--methods", "chosen", help="Comma-separated names.  [default: all of conf/adaptation]")
@click.option(
    "--device",
    type=click.Choice(["cuda", "cpu"]),
    default="cuda",
    show_default=True,
    help="cpu tries this script itself where there is no GPU.",
)
@click.option(
    "--galaxies", type=click.IntRange(min=8), default=40, show_default=True, help="Mergers in the mock."
)
@click.option("--train-slowly", "slow", nargs=2, type=click.Path(path_type=Path), hidden=True)
def main(chosen: str | None, device: str, galaxies: int, slow: tuple[Path, Path] | None) -> None:
    """Check trainings and predictions on the GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        print("PyTorch sees no GPU on this machine: nothing to check.")
        return
    if slow:
        train_slowly(*slow, device)
        return
    set_environment_defaults()
    started = time.perf_counter()
    name = torch.cuda.get_device_name() if device == "cuda" else "no GPU"
    print(f"{name}, PyTorch {torch.__version__}, {os.cpu_count()} cores")
    checks = Checks()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "data").mkdir()
        write_archive(
            folder / "data",
            mergers=galaxies,
            non_mergers=2 * galaxies,
            seed=0,
            filter_sets=("two",),
            progress=False,
        )
        prepare(folder / "data", "two", configuration("mmd", "32-true", device).split, folder / "prepared")
        prepared = Prepared(folder / "prepared")
        for method in methods(chosen):
            for precision in ("32-true", "bf16-mixed"):
                config = configuration(method, precision, device)
                state = folder / f"{method}-{precision}"
                checks.run(f"{method}, {precision}", lambda: trains(config, prepared, state))  # noqa: B023
            config = configuration(method, "32-true", device)
            checks.run(f"{method}, first step as on the CPU", lambda: agrees(config, prepared, device))  # noqa: B023
        checks.run(
            "pre-training, frozen features", lambda: pretrains(prepared, folder / "pretrained", device)
        )
        checks.run("a killed training resumes", lambda: resumes(prepared, folder / "resumed", device))
        checks.run(
            "a registered model predicts the same", lambda: predicts(prepared, folder / "registered", device)
        )
    print(f"{len(checks.failed)} of the checks failed, {time.perf_counter() - started:.0f} s")
    sys.exit(bool(checks.failed))


if __name__ == "__main__":
    main()
