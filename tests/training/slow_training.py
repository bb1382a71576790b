"""A training for tests that interrupt it: it prints its epochs and takes its time over them.

Arguments: IMAGES STATE CONF KEY=VALUE...
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from mergershift.classifier.classifier import Classifier
from mergershift.config import compose
from mergershift.core.errors import UserError
from mergershift.core.processes import STOP_SIGNALS, interrupted_by
from mergershift.images import Prepared
from mergershift.training.callbacks import Epochs
from mergershift.training.fit import train


def on_epoch(epochs: Epochs, _classifier: Classifier) -> None:
    """Say how many epochs are finished."""
    print(len(epochs), flush=True)
    time.sleep(0.3)


def main(images: str, state: str, conf: str, *overrides: str) -> None:
    """Train; exits as the command line would."""
    try:
        with interrupted_by(*STOP_SIGNALS) as arrived:
            train(compose(overrides, Path(conf)), Prepared(Path(images)), Path(state), on_epoch)
    except KeyboardInterrupt:
        sys.exit(128 + arrived[0])
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
