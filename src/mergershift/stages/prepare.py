"""The stage that converts the archive's files to the images that trainings read."""

from __future__ import annotations

import time

from mergershift.config import Config
from mergershift.core.checkout import DATA, root
from mergershift.core.progress import ProgressBars
from mergershift.core.words import counted
from mergershift.images import prepare
from mergershift.images.locate import prepared_folder


def prepare_step(config: Config) -> str:
    """Prepare the images of the configured filter set; returns lines to print."""
    project, output = root(), prepared_folder(config)
    started = time.monotonic()
    with ProgressBars() as progress:
        bar = progress.add("preparing images", None)
        facts = prepare(project / DATA, config.filters.name, config.split, output, bar.update)
    rows, seconds = counted(facts["rows"], "row"), time.monotonic() - started
    line = f"{output.relative_to(project)}: {rows} in two domains, {seconds:.0f} s"
    return "\n".join([*(f"warning: {warning}" for warning in facts["warnings"]), line])
