"""The methods section of the page, whose source is docs/methods.md."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt

from mergershift.core.checkout import root
from mergershift.core.reading import read_text

SOURCE = "docs/methods.md"


def methods_section() -> str:
    """Render docs/methods.md as HTML without its title, with headings below the page's; empty if it is missing."""
    path = root() / SOURCE
    if not path.exists():
        return ""
    text = re.sub(r"\A# .*\n", "", read_text(path, "Restore the file from git."))
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    html = _described(html)
    # The page's sections have headings of the second level.
    return re.sub(r"(</?h)([2-5])>", lambda found: f"{found[1]}{int(found[2]) + 1}>", html)


def _described(html: str) -> str:
    """Give tables the heading above them as a caption, their columns a scope, and a frame in which they scroll."""
    parts = re.split(r"(<h[2-5]>.*?</h[2-5]>)", html)
    heading = ""
    for place, part in enumerate(parts):
        found = re.fullmatch(r"<h[2-5]>(.*?)</h[2-5]>", part)
        heading = re.sub("<.*?>", "", found[1]) if found else heading
        frame = f'<div class="scroll" tabindex="0" role="region" aria-label="{heading}">'
        for old, new in (
            ("<table>", f"{frame}<table>\n<caption>{heading}</caption>"),
            ("</table>", "</table></div>"),
            ("<th>", '<th scope="col">'),
        ):
            part = part.replace(old, new)
        parts[place] = part
    return "".join(parts)
