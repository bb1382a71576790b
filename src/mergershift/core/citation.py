"""What CITATION.cff asks to cite."""

from __future__ import annotations

import yaml

from mergershift.core.checkout import root


def references() -> list[dict[str, str]]:
    """What CITATION.cff asks to cite: authors, year, title, where, address; nothing where it is missing."""
    path = root() / "CITATION.cff"
    if not path.is_file():
        return []
    document = yaml.safe_load(path.read_text())
    found = []
    for each in (document, *document.get("references", [])):
        authors = [
            author.get("name")
            or " ".join(filter(None, (author.get("given-names"), author.get("family-names"))))
            for author in each.get("authors", [])
        ]
        volume = " ".join(str(each[name]) for name in ("journal", "volume") if name in each)
        where = [volume, str(each.get("start", "")), each.get("publisher", {}).get("name", "")]
        where += [name["value"] for name in each.get("identifiers", [])]
        doi = each.get("doi")
        found.append(
            {
                "authors": ", ".join(authors),
                "year": str(each.get("year", "")),
                "title": each["title"] + (f" (version {each['version']})" if "version" in each else ""),
                "where": ", ".join(filter(None, where)),
                "address": f"https://doi.org/{doi}" if doi else each.get("url", ""),
            }
        )
    return found
