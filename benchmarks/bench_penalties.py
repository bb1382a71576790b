"""What MMD, Sinkhorn divergence and CORAL take beside their textbook forms, and input batches beside torch's loader."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from bench_rows import Options, Row, Sample, in_turns, row_of, run, timed
from bench_training import cases, fit_once
from reference_training import broadcast_mmd
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from mergershift.adaptation.coral import coral
from mergershift.adaptation.mmd import mmd
from mergershift.adaptation.sinkhorn import sinkhorn

IMAGES, FEATURES = 128, 2592
BLUR, SCALING = 0.5, 0.5
ITERATIONS = 20
"""Iterations of the textbook's Sinkhorn algorithm, after which its divergence changes by less than a thousandth."""


def plain_coral(source: Tensor, target: Tensor) -> Tensor:
    """Compute the mean squared difference (scalar) of both covariance matrices `(F, F)`."""
    return (torch.cov(source.T) - torch.cov(target.T)).square().mean()


def plain_sinkhorn(source: Tensor, target: Tensor) -> Tensor:
    """Compute the debiased divergence (scalar) by iterations in the logarithm, differentiated through all of them."""
    unit = source.shape[1] ** 0.5

    def transport(x: Tensor, y: Tensor) -> Tensor:
        cost = (x[:, None] - y[None]).square().sum(2) / 2
        epsilon = BLUR**2
        first, second = cost.new_zeros(len(x)), cost.new_zeros(len(y))
        for _ in range(ITERATIONS):
            first = -epsilon * (((second - cost) / epsilon).logsumexp(1) - torch.tensor(len(y)).log())
            second = -epsilon * (
                ((first[:, None] - cost) / epsilon).logsumexp(0) - torch.tensor(len(x)).log()
            )
        return first.mean() + second.mean()

    x, y = source / unit, target / unit
    return transport(x, y) - transport(x, x) / 2 - transport(y, y) / 2


def our_sinkhorn(source: Tensor, target: Tensor) -> Tensor:
    """Compute the divergence as the method does, in units per feature."""
    unit = source.shape[1] ** 0.5
    return sinkhorn(source / unit, target / unit, BLUR, SCALING)


Penalty = Callable[[Tensor, Tensor], Tensor]
PENALTIES: dict[str, tuple[Penalty, Penalty, str]] = {
    "MMD": (broadcast_mmd, mmd, "textbook broadcast of all pairs"),
    "Sinkhorn": (plain_sinkhorn, our_sinkhorn, "textbook iterations on a broadcast"),
    "CORAL": (plain_coral, coral, "two covariance matrices"),
}
PEAK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from bench_penalties import peak
print(peak(sys.argv[2], int(sys.argv[3])))
"""


def features() -> tuple[Tensor, Tensor]:
    """Draw features of two domains `(128, 2592)` that differ a little."""
    generator = Generator().manual_seed(0)
    source, target = (torch.randn(IMAGES, FEATURES, generator=generator).relu() for _ in range(2))
    return source.requires_grad_(), (target * 1.1).requires_grad_()


def penalty_step(penalty: Penalty) -> Callable[[], None]:
    """Return a function that computes a penalty and its gradients."""
    source, target = features()

    def step() -> None:
        torch.autograd.grad(penalty(source, target), (source, target))

    return step


def peak(name: str, form: int) -> float:
    """Return by how many MB this process grows at most in a step of a penalty: 0 for the plain form, 1 for ours."""
    penalty = PENALTIES[name][:2][form]
    small = torch.randn(8, 16, requires_grad=True)
    torch.autograd.grad(penalty(small, small * 2), small)
    step = penalty_step(penalty)
    status = Path("/proc/self/status")

    def value(key: str) -> float:
        return next(
            float(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith(key)
        )

    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM to the present size
    before = value("VmRSS")
    step()
    return value("VmHWM") - before


def penalties(options: Options) -> list[Row]:
    """Compare time and peak memory of the penalties with their textbook forms."""
    rows = []
    torch.set_num_threads(options.threads)
    for name, (plain, ours, words) in PENALTIES.items():
        forms = {form: penalty_step(penalty) for form, penalty in (("plain", plain), ("ours", ours))}
        for step in forms.values():
            step()
        samples = in_turns(
            {
                "plain": functools.partial(_repeated, forms["plain"], 1),
                "ours": functools.partial(_repeated, forms["ours"], 10),
            },
            options.repeats,
        )
        title = f"{name}, {IMAGES} + {IMAGES} images, {FEATURES} features"
        rows.append(row_of("penalties", f"{title}, time", words, samples["plain"], samples["ours"]))
        plain_memory, our_memory = (_peak_apart(name, form) for form in range(2))
        rows.append(row_of("penalties", f"{title}, memory", words, plain_memory, our_memory, unit="MB"))
    return rows


def _peak_apart(name: str, form: int) -> list[Sample]:
    command = [sys.executable, "-c", PEAK, str(Path(__file__).parent), name, str(form)]
    return [Sample(float(run(command)))]


def _repeated(step: Callable[[], None], count: int) -> Sample:
    def steps() -> None:
        for _ in range(count):
            step()

    return timed(steps).per(count)


class Pairs(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Pairs of a source and a target image, each turned at random, as one writes them for torch's loader."""

    def __init__(self, source: Tensor, labels: Tensor, target: Tensor) -> None:
        self.source, self.labels, self.target = source, labels, target

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor, Tensor]:
        other = int(torch.randint(len(self.target), ()))
        return _turned(self.source[row]), self.labels[row], _turned(self.target[other])


def _turned(image: Tensor) -> Tensor:
    symmetry = int(torch.randint(8, ()))
    turned = torch.rot90(image, symmetry % 4, dims=(-2, -1))
    return turned.flip(-1) if symmetry >= 4 else turned


def batches(options: Options) -> list[Row]:
    """Compare the input batches of an epoch with those of torch's loader."""
    case = next(cases(Options(**{**vars(options), "networks": ("deepmerge",), "methods": ("mmd",)})))
    config = case.config()
    data = fit_once(
        config, case.prepared, case.scratch
    ).data  # images in the form that a training holds them in
    rows = case.prepared.rows("train", trains="source", unique=True)
    source = case.prepared.labelled(config.transfer.labelled_domain, rows)
    pairs = Pairs(source.images, source.labels, case.prepared.images(config.transfer.target, rows))
    size = config.training.batch_size

    def loader(workers: int) -> Sample:
        return _epoch(DataLoader(pairs, size, shuffle=True, drop_last=True, num_workers=workers))

    forms: dict[str, Callable[[], Sample]] = {"ours": lambda: _epoch(data.train_dataloader())}
    for workers in (0, 2):
        forms[f"DataLoader, {workers} workers"] = functools.partial(loader, workers)
    samples = in_turns(forms, options.repeats)
    name = f"input batches, {size} + {size} images, turned at random"
    return [row_of("batches", name, form, samples[form], samples["ours"]) for form in list(forms)[1:]]


def _epoch(batches: Iterable[object]) -> Sample:
    def iterate() -> None:
        for _ in batches:
            pass

    return timed(iterate)
