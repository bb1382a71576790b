"""Predictions for one's own images, by a registered model.

from mergershift.predicting import load_model
model = load_model("models:/mergershift@champion")
table = model.predict(images)
"""

from mergershift.predicting.model import Model, load_model

__all__ = ["Model", "load_model"]
"""`images` is an array `(N, C, 75, 75)` in µJy/arcsec², or names of files; `table` is an astropy Table."""
