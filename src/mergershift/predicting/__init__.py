"""Prediction on new images by a registered model.

from mergershift.predicting import load_model
model = load_model("models:/mergershift@champion")
table = model.predict(images)

`images` is an array `(N, C, 75, 75)` in µJy/arcsec² or a list of file names; `table` is an astropy Table.
"""

from typing import TYPE_CHECKING

from mergershift.core.lazy import lazy_exports

if TYPE_CHECKING:
    from mergershift.predicting.model import Model, load_model

__all__ = ["Model", "load_model"]

__getattr__ = lazy_exports(__name__, dict.fromkeys(__all__, "model"))
