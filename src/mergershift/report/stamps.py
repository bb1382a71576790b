"""Images of galaxies in colour, and the sheets on which they are laid out with their labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mergershift.archive import FIELD_KPC, FILTER_SETS, IMAGE_SIZE, PIXEL_ARCSEC, Domain
from mergershift.evaluation.metrics import Floats
from mergershift.images import Prepared
from mergershift.report.study_results import Setting
from mergershift.report.style import INK, MUTED
from mergershift.report.svg import STRIP, TEXT

LINEAR, WHITE = 2.0, 25.0
"""Brightness in units of the noise below which the stretch is linear, and from which a pixel is white."""
NO_VALUE = (92, 84, 110)
"""Colour of a pixel that has no value in any filter."""
WIDTH = 338.4
"""Width of a sheet in points."""
BAR_ARCSEC = 2

Colours = NDArray[np.uint8]


class Stretch:
    """The colours of images, all under the same stretch.

    A pixel is measured in units of its filter's noise, so that the noise has no hue: black at 0, linear up to
    `LINEAR`, logarithmic above, and white from `WHITE` (the asinh stretch of Lupton et al. 2004, PASP 116:133, for
    every filter by itself). The filters are in the order of their wavelength.
    """

    def __init__(self, filter_set: str) -> None:
        self._facts = FILTER_SETS[filter_set].filters

    def coloured(self, images: Floats) -> Colours:
        """Colour images `(N, C, H, W)` in µJy/arcsec²; returns RGB `(N, H, W, 3)` with row 0 at the bottom."""
        noise = np.array([facts.noise_std for facts in self._facts])
        # Row 0 is drawn at the bottom, as in FITS viewers.
        brightness = np.moveaxis(images, 1, -1)[:, ::-1] / noise
        empty = np.isnan(brightness).all(axis=-1)
        brightness = np.nan_to_num(brightness)
        blue, red = brightness[..., 0], brightness[..., -1]
        green = brightness[..., 1] if len(self._facts) > 2 else (blue + red) / 2
        stretched = np.arcsinh(np.stack([red, green, blue], axis=-1) / LINEAR) / np.arcsinh(WHITE / LINEAR)
        coloured = (255 * stretched.clip(0, 1)).round().astype(np.uint8)
        coloured[empty] = NO_VALUE
        return coloured

    @property
    def caption(self) -> str:
        """What the colours mean, in two sentences."""
        names = [facts.name.upper() for facts in self._facts]
        green = f"{names[1]} green" if len(names) > 2 else "the mean of both green"
        return (
            f"Colours: {names[0]} blue, {green}, {names[-1]} red, without smoothing. Each filter is in units of "
            "its noise per pixel, and all images are under the same asinh stretch: black at 0, linear up to "
            f"{LINEAR:.0f} times the noise, logarithmic above, white from {WHITE:.0f} times."
        )


class Stamps(Stretch):
    """Colour images of a setting's galaxies."""

    def __init__(self, setting: Setting, prepared: Prepared) -> None:
        super().__init__(setting.filters)
        self._prepared = prepared

    def images(self, domain: str, rows: Iterable[int], width: int = IMAGE_SIZE) -> Colours:
        """Read the central `width` pixels of the images of these rows as RGB `(N, width, width, 3)`."""
        stored = (
            self._prepared.images(Domain(domain), np.asarray(list(rows), dtype=np.int64)).double().numpy()
        )
        return self.coloured(stored[..., centre(width), centre(width)])


def centre(width: int) -> slice:
    """Select the central `width` of an image's `IMAGE_SIZE` pixels."""
    first = (IMAGE_SIZE - width) // 2
    return slice(first, first + width)


def field(width: int) -> str:
    """Size of the central `width` pixels on the sky and at the galaxy, for instance ``14″ (120 kpc)``."""
    return f"{width * PIXEL_ARCSEC:.0f}″ ({width / IMAGE_SIZE * FIELD_KPC:.0f} kpc)"


class Sheet:
    """A figure of square stamps in columns, with their labels at fixed places, in points from the upper left."""

    def __init__(self, columns: int, rows: int, left: float, gap: float, labels: tuple[float, float]) -> None:
        """Lay out `columns` x `rows` stamps.

        Args:
            columns: number of stamps beside each other.
            rows: number of stamps below each other.
            left: width of the margin on the left.
            gap: distance between columns.
            labels: height of the labels above the first row, and below every row.
        """
        self._left, self._gap, (self._above, self._below) = left, gap, labels
        self.size = (WIDTH - left - gap * (columns - 1)) / columns
        height = self._above + rows * (self.size + self._below) + STRIP
        self.figure = Figure(figsize=(WIDTH / 72, height / 72))
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, WIDTH), ylim=(height, 0))
        self.axes.set_axis_off()
        self.axes.autoscale(enable=False)

    def corner(self, column: int, row: int) -> tuple[float, float]:
        """Return the upper left corner of a stamp."""
        top = self._above + row * (self.size + self._below)
        return self._left + column * (self.size + self._gap), top

    def stamp(self, column: int, row: int, image: Colours) -> None:
        """Draw an image `(H, W, 3)`, whose pixels remain those of the archive."""
        x, y = self.corner(column, row)
        extent = (x, x + self.size, y + self.size, y)
        self.axes.imshow(image, extent=extent, interpolation="none", aspect="auto", clip_on=False)

    def outline(self, column: int, row: int, values: Floats, levels: tuple[float, ...]) -> None:
        """Draw contours of `values` `(H, W)`, with row 0 at the bottom, over a stamp; the highest is the thickest."""
        x, y = self.corner(column, row)
        height, width = values.shape
        across = x + (np.arange(width) + 0.5) / width * self.size
        up = y + self.size - (np.arange(height) + 0.5) / height * self.size
        widths = np.linspace(0.7, 1.5, len(levels))
        lines = self.axes.contour(across, up, values, levels=levels, colors="#ffffff", linewidths=widths)
        lines.set_clip_on(False)

    def above(self, column: int, row: int, text: str, **style: Any) -> None:
        """Write a label above the first row's stamp, or just above any other one."""
        x, y = self.corner(column, row)
        self._write(x + self.size / 2, y - 3, text, ha="center", va="bottom", **style)

    def below(self, column: int, row: int, text: str, **style: Any) -> None:
        """Write a label below a stamp."""
        x, y = self.corner(column, row)
        self._write(x + self.size / 2, y + self.size + 2, text, ha="center", va="top", **style)

    def beside(self, row: int, text: str) -> None:
        """Write a label on the left of a row."""
        x, y = self.corner(0, row)
        self._write(x - 3, y + self.size / 2, text, ha="right", va="center", rotation=90, color=MUTED.light)

    def on(self, column: int, row: int, text: str) -> None:
        """Write a text over the upper left corner of a stamp."""
        x, y = self.corner(column, row)
        self._write(x + 4, y + 4, text, ha="left", va="top", color="#ffffff")

    def scale_bar(self, column: int, row: int, pixels: int) -> None:
        """Draw the length of `BAR_ARCSEC` into a stamp that is `pixels` wide."""
        self.bar(column, row, BAR_ARCSEC / PIXEL_ARCSEC / pixels, f"{BAR_ARCSEC}″")

    def bar(self, column: int, row: int, share: float, text: str) -> None:
        """Draw a length into a stamp, as a share of its width, and name it."""
        x, y = self.corner(column, row)
        length = share * self.size
        left, bottom = x + 6, y + self.size - 6
        self.axes.plot([left, left + length], [bottom] * 2, color="#ffffff", linewidth=1.4)
        self._write(left + length / 2, bottom - 3, text, ha="center", va="bottom", color="#ffffff")

    def _write(self, x: float, y: float, text: str, **style: Any) -> None:
        self.axes.text(x, y, text, **{"fontsize": TEXT, "color": INK.light, **style})
