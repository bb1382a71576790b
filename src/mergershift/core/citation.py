"""The works that CITATION.cff asks users to cite."""

from __future__ import annotations

import yaml

from mergershift.core.checkout import root


def references() -> list[dict[str, str]]:
    """Return the authors, year, title, place of publication and address of each work; empty without CITATION.cff."""
    path = root() / "CITATION.cff"
    if not path.is_file():
        return []
    document = yaml.safe_load(path.read_text())
    found = []
    for work in (document, *document.get("references", [])):
        authors = [
            author.get("name")
            or " ".join(filter(None, (author.get("given-names"), author.get("family-names"))))
            for author in work.get("authors", [])
        ]
        volume = " ".join(str(work[name]) for name in ("journal", "volume") if name in work)
        where = [volume, str(work.get("start", "")), work.get("publisher", {}).get("name", "")]
        where += [identifier["value"] for identifier in work.get("identifiers", [])]
        doi = work.get("doi")
        found.append(
            {
                "authors": ", ".join(authors),
                "year": str(work.get("year", "")),
                "title": work["title"] + (f" (version {work['version']})" if "version" in work else ""),
                "where": ", ".join(filter(None, where)),
                "address": f"https://doi.org/{doi}" if doi else work.get("url", ""),
            }
        )
    return found
