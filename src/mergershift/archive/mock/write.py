"""Writing of a mock universe as files of the archive: npy, FITS and the metadata table, in its row structure."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from astropy.io.fits import StreamingHDU
from astropy.io.fits import append as append_hdu
from numpy.typing import NDArray

from mergershift.archive.facts import DATA_SETS, FILTER_SETS, DataSet, Domain, RowStructure
from mergershift.archive.headers import images_header, labels_table, mark_as_mock
from mergershift.archive.metadata import write_metadata
from mergershift.archive.mock.universe import Universe, render_universe
from mergershift.archive.mock.vectors import Floats
from mergershift.core.errors import UserError
from mergershift.core.files import atomic_file
from mergershift.core.progress import progress_bar

COPIES: dict[str, Callable[[Floats], Floats]] = {
    "as rendered": lambda images: images,
    "flipud": lambda images: images[..., ::-1, :],
    "fliplr": lambda images: images[..., ::-1],
    "rot90": lambda images: np.rot90(images, axes=(-2, -1)),
    "rot180": lambda images: images[..., ::-1, ::-1],
}
"""The five dihedral copies of a merger's renderings, by the names in `RowStructure.BLOCKS`."""
STREAM_ROWS = 128


def write_archive(
    folder: Path,
    *,
    mergers: int,
    non_mergers: int,
    seed: int,
    filter_sets: Sequence[str] = tuple(FILTER_SETS),
    fits: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Write a mock archive into an empty folder: images `(N, C, 75, 75)` float64 in µJy/arcsec², labels `(N,)`.

    The files have the names of the archive's, and their rows follow `RowStructure(mergers, non_mergers)`. Noise is
    drawn once per rendering, so the five copies of a merger share it. The two-filter set contains the first two
    channels of the three-filter set. `fits` adds the FITS files; `metadata.ecsv` describes what each row shows. Equal
    seeds and numbers of galaxies give equal archives. Raises UserError if a class would be empty, the seed is
    negative, a filter set is unknown, or the folder does not exist or is not empty.
    """
    _check(folder, mergers, non_mergers, seed, filter_sets)
    structure = RowStructure(mergers, non_mergers)
    with tempfile.TemporaryDirectory(prefix=".renderings-", dir=folder) as scratch:
        universe = render_universe(
            mergers,
            non_mergers,
            seed,
            storage=Path(scratch) / "renderings.npy",
            workers=workers,
            progress=progress,
        )
        _describe(folder, universe)
        for domain in Domain:
            data_sets = [DATA_SETS[name, domain] for name in filter_sets]
            _write_images(folder, data_sets, universe, progress)
            for data_set in data_sets:
                np.save(folder / data_set.labels_name, structure.labels)
    if fits:
        for (name, _), data_set in DATA_SETS.items():
            if name in filter_sets:
                _write_fits(folder, data_set, progress)


def _describe(folder: Path, universe: Universe) -> None:
    """Write the metadata table."""
    histories = universe.histories
    write_metadata(
        folder,
        universe.structure,
        stage=[
            ("past" if history.time >= 0 else "future") if history.merger else "" for history in histories
        ],
        log_mstar=[history.log_mass for history in histories],
        mass_ratio=[history.mass_ratio if history.merger else np.nan for history in histories],
    )


def _check(folder: Path, mergers: int, non_mergers: int, seed: int, filter_sets: Sequence[str]) -> None:
    for name, count in (("mergers", mergers), ("non-mergers", non_mergers)):
        if count < 1:
            raise UserError(
                f"A mock archive cannot have {count} {name}.\nGive at least one galaxy of each class."
            )
    if seed < 0:
        raise UserError(
            f"The seed of the mock archive is {seed}, expected 0 or more.\nGive a seed that is not negative."
        )
    for name in filter_sets:
        if name not in FILTER_SETS:
            raise UserError(f"There is no filter set '{name}'.\nChoose from {', '.join(FILTER_SETS)}.")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder for the mock archive.\nCreate it first.")
    if any(folder.iterdir()):
        raise UserError(
            f"{folder}: is not empty, but a mock archive needs an empty folder.\n"
            "Choose another folder, or empty this one."
        )


def _rows(structure: RowStructure) -> list[list[NDArray[np.int64]]]:
    """List the rows of each galaxy by block (one for a non-merger), with its cameras in order."""
    order = np.lexsort((structure.camera, structure.block, structure.galaxy))
    edges = np.cumsum(np.bincount(structure.galaxy))[:-1]
    blocks = [len(COPIES)] * structure.mergers + [1] * structure.non_mergers
    return [np.split(rows, count) for rows, count in zip(np.split(order, edges), blocks, strict=True)]


def _write_images(folder: Path, data_sets: Sequence[DataSet], universe: Universe, progress: bool) -> None:
    with ExitStack() as stack:
        parts = [stack.enter_context(atomic_file(folder / data_set.images_name)) for data_set in data_sets]
        _fill(parts, data_sets, universe, progress)


def _fill(parts: Sequence[Path], data_sets: Sequence[DataSet], universe: Universe, progress: bool) -> None:
    structure = universe.structure
    files = [
        np.lib.format.open_memmap(part, mode="w+", dtype=np.float64, shape=data_set.shape(structure.rows))
        for part, data_set in zip(parts, data_sets, strict=True)
    ]
    noisy = data_sets[0].domain is Domain.NOISY
    rows = _rows(structure)
    with progress_bar(f"writing {data_sets[0].domain} images", len(rows), shown=progress) as advance:
        for galaxy, blocks in enumerate(rows):
            images = universe.pristine(galaxy)
            if noisy:
                images = images + universe.noise(galaxy)
            for name, places in zip(COPIES, blocks, strict=False):
                copy = COPIES[name](images[: len(places)])
                for file in files:
                    file[places[0] : places[-1] + 1] = copy[:, : file.shape[1]]
            advance(1)
    while files:
        files.pop().flush()


def _write_fits(folder: Path, data_set: DataSet, progress: bool) -> None:
    images = np.load(folder / data_set.images_name, mmap_mode="r", allow_pickle=False)
    labels = np.load(folder / data_set.labels_name, allow_pickle=False)
    header = images_header(data_set, len(images))
    mark_as_mock(header)
    bar = progress_bar(f"writing {data_set.fits_name}", len(images), shown=progress)
    with atomic_file(folder / data_set.fits_name) as part, bar as advance:
        stream = StreamingHDU(part, header)
        try:
            for block in _blocks(len(images)):
                stream.write(images[block].astype(">f8"))
                advance(block.stop - block.start)
        finally:
            stream.close()
        table = labels_table(labels)
        append_hdu(part, table.data, table.header)


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(start, min(start + STREAM_ROWS, rows)) for start in range(0, rows, STREAM_ROWS))
