"""Render a whole mock universe on several processes; the result depends on seed and numbers of galaxies alone."""

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
"""Renderings of one galaxy."""
CHUNK = 4
"""Galaxies a process renders before it reports."""


@dataclass(frozen=True)
class Universe:
    """All galaxies of a mock archive, mergers first: one rendering a camera, before the dihedral copies."""

    seed: int
    structure: RowStructure
    histories: tuple[MergerHistory, ...]
    raw: NDArray[np.float32]
    """Uncalibrated renderings `(G, 4, 3, 75, 75)`; a memory map where a file was given for it."""
    factors: Floats
    """`(G, 3)`: `raw` times these are µJy/arcsec²."""

    def pristine(self, galaxy: int) -> Floats:
        """Noiseless renderings `(4, 3, 75, 75)` of a galaxy, µJy/arcsec²."""
        return self.raw[galaxy].astype(np.float64) * self.factors[galaxy][None, :, None, None]

    def noise(self, galaxy: int) -> Floats:
        """What a telescope adds to them: white noise `(4, 3, 75, 75)` of the published deviations, µJy/arcsec²."""
        merger = galaxy < self.structure.mergers
        place = galaxy if merger else galaxy - self.structure.mergers
        deviations = np.array([each.noise_std for each in FILTERS])
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
    """Render and calibrate all galaxies of a universe, four cameras each.

    The renderings, 270 kB a galaxy, go to the npy file `storage` if given. `workers` defaults to the processors
    at hand; 1 renders in this process. An error or Ctrl-C ends all of them.
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
        seed, structure, tuple(each for each in histories if each), raw, factors(sums, squares, rows)
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
    """Render chunk by chunk, in whatever order they are done: the first galaxy's number and the renderings."""
    count = mergers + non_mergers
    jobs = [(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    with progress_bar("rendering galaxies", count, shown=progress) as bar:
        if workers == 1 or len(jobs) == 1:
            for start, stop in jobs:
                yield start, _render(mergers, start, stop, seed, recipe)
                bar(stop - start)
            return
        pool = ProcessPoolExecutor(
            min(workers, len(jobs)), multiprocessing.get_context("spawn"), initializer=_obey_parent
        )
        try:
            waiting = iter(jobs)
            running: dict[Future[Rendered], tuple[int, int]] = {}
            while True:
                # a few jobs ahead of the processes, so that finished renderings never pile up
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


def _obey_parent() -> None:
    """Leave Ctrl-C to the parent, which winds the processes up, and end should the parent be killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
