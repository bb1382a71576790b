"""The images that the network saw, in one npy file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from mergershift.core.files import atomic_file


@contextmanager
def stack_writer(path: Path) -> Iterator[Callable[[NDArray[np.float32]], None]]:
    """Yield a function that appends images `(n, C, H, W)` to an npy file.

    The file appears under its name if the block ends without an error; otherwise it is deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial, partial.open("wb") as file:
        shape: tuple[int, ...] = ()

        def write_header(count: int) -> None:
            described = {"descr": "<f4", "fortran_order": False, "shape": (count, *shape)}
            write_array_header_1_0(file, described)

        count = length = 0

        def append(images: NDArray[np.float32]) -> None:
            nonlocal shape, count, length
            if not count:
                shape = images.shape[1:]
                # numpy leaves room in the header for any number of images.
                write_header(0)
                length = file.tell()
            file.write(np.ascontiguousarray(images, "<f4").data)
            count += len(images)

        yield append
        if count:
            file.seek(0)
            write_header(count)
            assert file.tell() == length
