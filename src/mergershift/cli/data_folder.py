"""What the commands of `mergershift data` share: which folder, checking it, handing it over to the pipeline.

Nothing heavy is imported until a function runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mergershift.archive import DataSet
    from mergershift.archive.readers import Format
    from mergershift.archive.verification.findings import Report
    from mergershift.config import ArchiveConfig


def archive_config() -> ArchiveConfig | None:
    """conf/archive of the checkout; None outside one."""
    from mergershift.config import compose
    from mergershift.core.checkout import root
    from mergershift.core.errors import UserError

    try:
        root()
    except UserError:
        return None
    return compose().archive


def folder(chosen: Path | None) -> Path:
    """The data folder: the one chosen, else that of the checkout, else ./data."""
    from mergershift.core.checkout import root

    if chosen is not None:
        return chosen
    config = archive_config()
    path = root() / "data" if config else Path("data")
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def shape(place: Path, data_set: DataSet, format: Format) -> str:
    """Shape of the images in a file, or that it is broken."""
    from mergershift.archive import open_images
    from mergershift.core.errors import UserError

    try:
        return str(open_images(place, data_set, format).shape)
    except UserError:
        return "broken, see `mergershift data verify`"


def verified(place: Path) -> bool:
    """Check a data folder, print what was found and return whether it is sound."""
    from mergershift.archive.verification.verify import bytes_to_read, verify
    from mergershift.core.progress import ProgressBars

    with ProgressBars("bytes") as bars:
        report = verify(place, bars.add("checking", bytes_to_read(place)).advance)
    _print(report)
    return report.sound


def _print(report: Report) -> None:
    click.echo("mean and standard deviation in µJy/arcsec², the published ones in brackets")
    for file in dict.fromkeys(row.file for row in report.statistics):
        click.echo(file)
        for row in (each for each in report.statistics if each.file == file):
            click.echo(
                f"  {row.filter}   mean {row.mean:7.4f} ({row.published_mean:.4f})"
                f"   deviation {row.std:6.3f} ({row.published_std:.3f})"
            )
    for finding in report.findings:
        click.echo(str(finding))
    errors = sum(each.level == "error" for each in report.findings)
    warnings = len(report.findings) - errors
    click.echo(f"{len(report.checked)} files checked; errors: {errors}, warnings: {warnings}")


def hand_over(place: Path) -> None:
    """Pin a data folder and, if it is the checkout's own, let the study run the filter sets that it has."""
    from mergershift.archive import FILTER_SETS, Domain, available
    from mergershift.pipeline.pin import pin

    click.echo(pin(place))
    if archive_config() is None or place.resolve() != folder(None).resolve():
        return
    from mergershift.config.study import set_filters

    here = [(each.filter_set.name, each.domain) for each in available(place)]
    present = [name for name in FILTER_SETS if all((name, domain) in here for domain in Domain)]
    if not present:
        click.echo(
            "No filter set is here in both domains, which the pipeline needs; conf/study.yaml is as it was"
        )
    else:
        click.echo(set_filters(present))
