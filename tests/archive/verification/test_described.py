"""The table of what each row shows has to fit the labels."""

import shutil
from pathlib import Path

import pytest
from archive.samples import STRUCTURE, write_sample

from mergershift.archive import write_metadata
from mergershift.archive.metadata import METADATA_NAME
from mergershift.archive.verification.verify import verify


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("sound"))


def faults(folder: Path) -> list[str]:
    return [finding.found for finding in verify(folder).findings if finding.file == METADATA_NAME]


def test_metadata_that_fit_are_no_finding_and_others_are(sound: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sound, tmp_path / "data"))
    stages = ["past"] * STRUCTURE.mergers + [""] * STRUCTURE.non_mergers
    write_metadata(folder, STRUCTURE, stage=stages, log_mstar=[10.0] * len(stages))
    assert not faults(folder)
    table = folder / METADATA_NAME
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:-1]))
    (found,) = faults(folder)
    assert "do not match the labels" in found
    table.write_text("no table")
    (found,) = faults(folder)
    assert "not a metadata table" in found
