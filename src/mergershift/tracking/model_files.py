"""The files of a registered model on this machine: where they are kept, and whether they are the registered ones."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from mergershift.core.checkout import main_checkout
from mergershift.core.errors import UserError
from mergershift.tracking.model_version import FILES, FILES_DIGITS, Version

VERSION_RECORD = "registered_model_meta"
"""File in a fetched model's folder with its name and version, as MLflow's own loader writes it."""


def files_hash(folder: Path) -> str:
    """Return a hash of the names and contents of the files of a model, apart from what `fetch` adds."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != VERSION_RECORD):
        name = path.relative_to(folder).as_posix().encode()
        content = hashlib.sha256(path.read_bytes()).digest()
        digest.update(len(name).to_bytes(8) + name + content)
    return digest.hexdigest()[:FILES_DIGITS]


def require_files(version: Version, folder: Path) -> None:
    """Raise UserError if the files in `folder` are others than those that were registered as this version."""
    expected = version.tags.get(FILES)
    if expected is not None and files_hash(folder) != expected:
        raise UserError(
            f"{version.uri}: its files were changed after it was registered, so they are not used.\n"
            "Ask a maintainer to find out by whom, and to register and promote the model again."
        )


def cache() -> Path:
    """Return state/models of the checkout or, outside of a checkout, the user's cache folder."""
    try:
        return main_checkout() / "state" / "models"
    except UserError:
        home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return Path(home) / "mergershift" / "models"
