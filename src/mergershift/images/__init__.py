"""Preparation of the archive's images, their split, and training batches.

What needs no PyTorch can be imported without it.
"""

from typing import TYPE_CHECKING

from mergershift.core.lazy import lazy_exports
from mergershift.images.leakage import Leak, audit, leakage
from mergershift.images.prepare import origin, prepare
from mergershift.images.split import first_renderings, row_table

if TYPE_CHECKING:
    from mergershift.images.augment import Stretch, dihedral
    from mergershift.images.batches import Batches, PairedBatch, PairedBatches, joined
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
    "joined",
    "leakage",
    "origin",
    "prepare",
    "row_table",
]

__getattr__ = lazy_exports(
    __name__,
    {
        **dict.fromkeys(("Stretch", "dihedral"), "augment"),
        **dict.fromkeys(("Batches", "PairedBatch", "PairedBatches", "joined"), "batches"),
        **dict.fromkeys(("LabelledImages", "Prepared"), "store"),
    },
)
