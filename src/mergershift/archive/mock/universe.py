"""Rendering of a whole mock universe in parallel; the result depends only on the seed and numbers of galaxies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.facts import FILTER_SETS, IMAGE_SIZE, RowStructure
from mergershift.archive.mock.brightness import factors
from mergershift.archive.mock.galaxies import NOISE, MergerHistory, generator, render_galaxy
from mergershift.archive.mock.recipe import RECIPE, Recipe
from mergershift.archive.mock.vectors import Floats
from mergershift.core.processes import available_cores
from mergershift.core.progress import progress_bar

FILTERS = FILTER_SETS["three"].filters
SHAPE = (RowStructure.CAMERAS, len(FILTERS), IMAGE_SIZE, IMAGE_SIZE)
"""Shape of the renderings of one galaxy."""
CHUNK = 4
"""Number of galaxies that a process renders per job."""


@dataclass(frozen=True)
class Universe:
    """All galaxies of a mock archive, mergers first, with one rendering per camera and no dihedral copies."""

    seed: int
    structure: RowStructure
    histories: tuple[MergerHistory, ...]
    raw: NDArray[np.float32]
    """Uncalibrated renderings `(G, 4, 3, 75, 75)`; a memory map if a storage file was given."""
    factors: Floats
    """Calibration factors `(G, 3)` that convert `raw` to µJy/arcsec²."""

    def pristine(self, galaxy: int) -> Floats:
        """Return the noiseless renderings `(4, 3, 75, 75)` of a galaxy in µJy/arcsec²."""
        return self.raw[galaxy].astype(np.float64) * self.factors[galaxy][None, :, None, None]

    def noise(self, galaxy: int) -> Floats:
        """Draw the telescope's white noise `(4, 3, 75, 75)` for a galaxy in µJy/arcsec², as strong as published."""
        merger = galaxy < self.structure.mergers
        place = galaxy if merger else galaxy - self.structure.mergers
        deviations = np.array([facts.noise_std for facts in FILTERS])
        return generator(self.seed, NOISE, merger, place).normal(size=SHAPE) * deviations[None, :, None, None]


def render_universe(
    mergers: int,
    non_mergers: int,
    seed: int,
    *,
    storage: Path | None = None,
    workers: int | None = None,
    progress: bool = False,
    recipe: Recipe = RECIPE,
) -> Universe:
    """Render and calibrate all galaxies of a universe with four cameras each.

    The renderings, 270 kB per galaxy, are written to the npy file `storage` if given. `workers` defaults to the
    number of available cores; 1 renders in this process. An error or Ctrl-C ends all worker processes.
    """
    structure = RowStructure(mergers, non_mergers)
    count = mergers + non_mergers
    raw: NDArray[np.float32]
    if storage is None:
        raw = np.empty((count, *SHAPE), np.float32)
    else:
        raw = np.lib.format.open_memmap(storage, mode="w+", dtype=np.float32, shape=(count, *SHAPE))
    histories: list[MergerHistory | None] = [None] * count
    sums, squares = np.zeros((count, len(FILTERS))), np.zeros((count, len(FILTERS)))
    for start, galaxies in _chunks(
        mergers, non_mergers, seed, workers or available_cores(), progress, recipe
    ):
        for index, (images, history) in enumerate(galaxies, start):
            raw[index], histories[index] = images, history
            exact = images.astype(np.float64)
            sums[index] = exact.sum(axis=(0, 2, 3)) / RowStructure.CAMERAS
            squares[index] = (exact * exact).sum(axis=(0, 2, 3)) / RowStructure.CAMERAS
    rows = np.bincount(structure.galaxy, minlength=count).astype(np.float64)
    return Universe(
        seed, structure, tuple(history for history in histories if history), raw, factors(sums, squares, rows)
    )


Rendered = list[tuple[NDArray[np.float32], MergerHistory]]


def _render(mergers: int, start: int, stop: int, seed: int, recipe: Recipe) -> Rendered:
    found = []
    for index in range(start, stop):
        merger = index < mergers
        images, history = render_galaxy(seed, merger, index if merger else index - mergers, recipe)
        found.append((images.astype(np.float32), history))
    return found


def _chunks(
    mergers: int, non_mergers: int, seed: int, workers: int, progress: bool, recipe: Recipe
) -> Iterator[tuple[int, Rendered]]:
    """Render in chunks and yield each as it is finished: the number of its first galaxy, and its renderings."""
    count = mergers + non_mergers
    jobs = [(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    with progress_bar("rendering galaxies", count, shown=progress) as bar:
        if workers == 1 or len(jobs) == 1:
            for start, stop in jobs:
                yield start, _render(mergers, start, stop, seed, recipe)
                bar(stop - start)
            return
        pool = ProcessPoolExecutor(
            min(workers, len(jobs)), multiprocessing.get_context("spawn"), initializer=_follow_parent
        )
        try:
            waiting = iter(jobs)
            running: dict[Future[Rendered], tuple[int, int]] = {}
            while True:
                # Only a few jobs are submitted ahead of the processes, so that finished renderings do not pile up.
                for job in waiting:
                    running[pool.submit(_render, mergers, *job, seed, recipe)] = job
                    if len(running) >= 3 * workers:
                        break
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    start, stop = running.pop(future)
                    yield start, future.result()
                    bar(stop - start)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, which shuts the workers down, and exit if the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
