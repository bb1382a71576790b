"""Preparation of the archive's images, their split, and training batches."""

from mergershift.images.augment import Stretch, dihedral
from mergershift.images.batches import Batches, PairedBatch, PairedBatches
from mergershift.images.leakage import Leak, audit, leakage
from mergershift.images.prepare import origin, prepare
from mergershift.images.split import first_renderings, row_table
from mergershift.images.store import LabelledImages, Prepared

__all__ = [
    "Batches",
    "LabelledImages",
    "Leak",
    "PairedBatch",
    "PairedBatches",
    "Prepared",
    "Stretch",
    "audit",
    "dihedral",
    "first_renderings",
    "leakage",
    "origin",
    "prepare",
    "row_table",
]
