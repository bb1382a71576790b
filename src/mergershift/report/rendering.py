"""Renders self-contained pages from templates, in the style of the study's page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mergershift.report.style import spelt


def render(template: Path, **values: Any) -> str:
    """Render a template with `values` and, as `css`, the style sheet; it can include templates of this package."""
    package = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader([template.parent, package]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["spelt"] = spelt
    css = (package / "page.css").read_text()
    return environment.get_template(template.name).render(css=css, **values)
