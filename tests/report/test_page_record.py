"""What the study's page was made from is recorded beside it, so that it is published with nothing else."""

from __future__ import annotations

from pathlib import Path

from mergershift.cells.summary_files import (
    PAGE_RECORD,
    STUDY_COPY,
    PageRecord,
    read_trainings,
    summary_digest,
)


def test_the_page_records_the_study_and_the_summary_that_it_was_made_from(study: Path) -> None:
    folder = study / "outputs/report"
    record = PageRecord.model_validate_json((folder / PAGE_RECORD).read_text())
    trainings = read_trainings("")
    assert trainings is not None
    assert record == PageRecord(study=trainings.study, summary=summary_digest(), experiment="mergershift")
    assert (folder / STUDY_COPY).read_bytes() == (study / "conf/study.yaml").read_bytes()
