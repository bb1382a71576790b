"""From the archive's files to training batches."""

from mergershift.images.augment import Stretch, dihedral
from mergershift.images.batches import Batches, Pair, PairedBatches
from mergershift.images.leakage import Leak, audit, leakage
from mergershift.images.prepare import origin, prepare
from mergershift.images.split import row_table, unique_renderings
from mergershift.images.store import LabelledImages, Prepared

__all__ = [
    "Batches",
    "LabelledImages",
    "Leak",
    "Pair",
    "PairedBatches",
    "Prepared",
    "Stretch",
    "audit",
    "dihedral",
    "leakage",
    "origin",
    "prepare",
    "row_table",
    "unique_renderings",
]
