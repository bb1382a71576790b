"""The choice of the study in conf/study.yaml among those in conf/studies/."""

from __future__ import annotations

import io
import itertools
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML

from mergershift.config.cells_file import update_cells
from mergershift.config.machine import AUTO, PRECISIONS, trainer_of_this_machine
from mergershift.config.study import REMEDY, named_file, read_named_study, read_study, study_file, study_names
from mergershift.core.files import write_text
from mergershift.core.reading import read_text
from mergershift.core.words import counted


def study_in_use() -> str | None:
    """Return the name of the study in conf/studies/ that conf/study.yaml is a copy of; None if it is another."""
    return name_of_study(study_file())


def name_of_study(path: Path) -> str | None:
    """Return the name of the study in conf/studies/ that a file is a copy of; None if it is another."""
    used = _content(path)
    if used is None:
        return None
    for name in study_names():
        content = _content(named_file(name)) or b""
        if used in (content, *(_with_trainer(content, trainer) for trainer in PRECISIONS)):
            return name
    return None


def _with_trainer(content: bytes, trainer: str) -> bytes:
    """Return a study whose trainer is `auto` with another one in its place, and any other study as it is."""
    return re.sub(rb"(?m)^(trainer:\s*)auto\b", rb"\g<1>" + trainer.encode(), content)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def use_study(name: str) -> str:
    """Make conf/studies/`name`.yaml the study that the pipeline runs; return one line that describes it.

    If the present study.yaml is not one of the files in conf/studies/, it is kept as study.yaml.bak, or study.yaml.bak2
    and so on. Raises UserError if there is no study of this name.
    """
    path, study = study_file(), read_named_study(name)
    kept = ""
    if path.is_file() and study_in_use() is None:
        backup = _free_backup(path)
        shutil.copyfile(path, backup)
        kept = f" (the previous one is now {backup.name})"
    text = read_text(named_file(name), REMEDY)
    if study.trainer == AUTO:
        text = _with_trainer(text.encode(), trainer_of_this_machine()).decode()
    write_text(path, text)
    update_cells(study)
    cells = counted(len(study.cells()), "cell")
    return f"conf/study.yaml is now the study '{name}' with {cells}{kept}. Run it with `mergershift repro`."


def _free_backup(path: Path) -> Path:
    """Return the first of study.yaml.bak, study.yaml.bak2, ... that does not exist or has the same content."""
    for number in itertools.count(1):
        backup = path.with_name(f"{path.name}.bak{number if number > 1 else ''}")
        if not backup.exists() or _content(backup) == _content(path):
            return backup
    raise AssertionError


def set_filters(present: Sequence[str]) -> str:
    """Remove the filter sets that the archive lacks from conf/study.yaml; return one line about those it runs.

    Filter sets in `present` that the user has removed are not added, unless no set would be left. Raises UserError
    if conf/study.yaml is missing or not valid.
    """
    path = study_file()
    study = read_study()
    listed = study.filters
    kept = [str(name) for name in listed if name in present] or list(present)
    unused = [name for name in present if name not in kept]
    more = f"; data/ also has {', '.join(unused)}, which you can add to its list `filters`" if unused else ""
    message = f"conf/study.yaml runs filters {', '.join(kept)}{more}"
    if list(listed) == kept:
        update_cells(study)
        return message
    yaml = YAML()
    document = yaml.load(read_text(path, REMEDY))
    document["filters"][:] = kept
    yaml.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    yaml.dump(document, text)
    write_text(path, text.getvalue())
    update_cells(read_study())
    return message
