"""Functions that the commands of `mergershift data` share: find, check and pin the data folder.

Nothing heavy is imported until a function runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mergershift.core.words import counted

if TYPE_CHECKING:
    from mergershift.archive import DataSet
    from mergershift.archive.provenance import Provenance
    from mergershift.archive.readers import Format
    from mergershift.archive.verification.findings import Report
    from mergershift.config import ArchiveConfig


def archive_config() -> ArchiveConfig | None:
    """Configuration in conf/archive of the checkout, or None outside a checkout."""
    from mergershift.config import compose
    from mergershift.core.checkout import root
    from mergershift.core.errors import UserError

    try:
        root()
    except UserError:
        return None
    return compose().archive


def folder(chosen: Path | None) -> Path:
    """Find the data folder: `chosen` if given, otherwise that of the checkout, or ./data outside a checkout."""
    from mergershift.core.checkout import root

    if chosen is not None:
        return chosen
    config = archive_config()
    path = root() / "data" if config else Path("data")
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def shape(folder: Path, data_set: DataSet, format: Format) -> str:
    """Shape of the images in a file as text, or a note that the file is broken."""
    from mergershift.archive.readers import open_images
    from mergershift.core.errors import UserError

    try:
        return str(open_images(folder, data_set, format).shape)
    except UserError:
        return "broken, see `mergershift data verify`"


def verified(folder: Path, stated: Provenance | None = None) -> bool:
    """Check a data folder, by the `stated` provenance if any, and print the findings; returns whether it is sound."""
    from mergershift.archive.verification.verify import bytes_to_read, verify
    from mergershift.core.progress import ProgressBars

    with ProgressBars("bytes") as progress:
        report = verify(folder, progress.add("checking", bytes_to_read(folder)).advance, stated=stated)
    _print(report)
    return report.sound


def record(folder: Path, address: str | None) -> None:
    """Check a data folder, record the hashes of its files and pin it; the exit code is 1 if it has errors."""
    from mergershift.archive import recording
    from mergershift.archive.replacement import locked

    with locked(folder):
        provenance = recording.require_recordable(folder, address)
        if not verified(folder, provenance):
            click.echo("The files have errors, so no manifest was written.")
            click.get_current_context().exit(1)
        click.echo(
            f"{folder}: hashes of {counted(recording.record(folder, provenance), 'file')} recorded: {provenance}"
        )
    hand_over(folder)


def _print(report: Report) -> None:
    click.echo("Mean and standard deviation in µJy/arcsec² (published values in parentheses)")
    for file in dict.fromkeys(row.file for row in report.statistics):
        click.echo(file)
        for row in (entry for entry in report.statistics if entry.file == file):
            click.echo(
                f"  {row.filter}   mean {row.mean:7.4f} ({row.published_mean:.4f})"
                f"   deviation {row.std:6.3f} ({row.published_std:.3f})"
            )
    for note in report.notes:
        click.echo(f"note: {note}")
    for finding in report.findings:
        click.echo(str(finding))
    errors = sum(finding.level == "error" for finding in report.findings)
    warnings = len(report.findings) - errors
    click.echo(f"{counted(len(report.checked), 'file')} checked; errors: {errors}, warnings: {warnings}")


def hand_over(place: Path) -> None:
    """Pin a data folder and, if it is the checkout's own, limit the study to the filter sets that it contains."""
    from mergershift.archive import FILTER_SETS, Domain, available
    from mergershift.pipeline.pin import pin

    click.echo(pin(place))
    if archive_config() is None or place.resolve() != folder(None).resolve():
        return
    from mergershift.config.study_choice import set_filters

    here = [(data_set.filter_set.name, data_set.domain) for data_set in available(place)]
    present = [name for name in FILTER_SETS if all((name, domain) in here for domain in Domain)]
    if not present:
        click.echo(
            "conf/study.yaml is unchanged: data/ contains no filter set in both domains, as the pipeline needs."
        )
    else:
        click.echo(set_filters(present))
