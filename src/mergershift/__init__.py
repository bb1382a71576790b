"""Experiments with galaxy-merger classifiers that have to survive a change of domain."""

import os

__version__ = "0.1.0"

# PyTorch's threads wait for each other by spinning; where another program wants the cores too, that makes a step
# several times slower. Read when the first of torch's libraries is loaded, hence here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
