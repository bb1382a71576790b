"""The works that CITATION.cff asks users to cite."""

from __future__ import annotations

from typing import Any

from mergershift.core.checkout import root
from mergershift.core.reading import damaged
from mergershift.core.yaml_files import read_yaml

_REMEDY = "Restore the file from git."


def references() -> list[dict[str, str]]:
    """Return the authors, year, title, place of publication and address of each work; empty without CITATION.cff."""
    path = root() / "CITATION.cff"
    if not path.exists():
        return []
    document = read_yaml(path, dict[str, Any], _REMEDY)
    try:
        return [_reference(work) for work in (document, *document.get("references", []))]
    except (AttributeError, KeyError, TypeError) as error:
        raise damaged(
            path, f"not in the Citation File Format ({type(error).__name__}: {error})", _REMEDY
        ) from error


def _reference(work: dict[str, Any]) -> dict[str, str]:
    authors = [
        author.get("name") or " ".join(filter(None, (author.get("given-names"), author.get("family-names"))))
        for author in work.get("authors", [])
    ]
    volume = " ".join(str(work[name]) for name in ("journal", "volume") if name in work)
    where = [volume, str(work.get("start", "")), work.get("publisher", {}).get("name", "")]
    where += [identifier["value"] for identifier in work.get("identifiers", [])]
    doi = work.get("doi")
    return {
        "authors": ", ".join(authors),
        "year": str(work.get("year", "")),
        "title": work["title"] + (f" (version {work['version']})" if "version" in work else ""),
        "where": ", ".join(filter(None, where)),
        "address": f"https://doi.org/{doi}" if doi else work.get("url", ""),
    }
