"""Converts matplotlib's SVG for the page: in the page's colours, with unique ids, and many times smaller."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from itertools import groupby
from xml.etree.ElementTree import Element, fromstring, tostring

import numpy as np
from PIL import Image

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
IMAGE_QUALITY = 80
FEWEST_POINTS = 3
"""Smallest number of equal points that are worth a marker."""
_AXIS = ("path", "use", "text")
"""Order of the elements of an axis, in which equal ones follow each other: its grid, ticks and labels."""


def inline(svg: str, label: str, colours: Mapping[str, str], number: int) -> str:
    """Convert an SVG of matplotlib for the page.

    Args:
        svg: text of the file.
        label: description for readers who cannot see the figure.
        colours: name of the page's variable by colour (``#rrggbb``).
        number: number of the figure, which makes its ids unique.
    """
    root = fromstring(svg)
    box = root.attrib["viewBox"]
    figure = _Figure(root, colours, f"f{number}-")
    body = "".join(tostring(element, encoding="unicode") for element in figure.elements())
    width = float(box.split()[2])
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="{box}" style="max-width: {1.5 * width / 12:.1f}rem">'
        f"{body}</svg>"
    )


class _Figure:
    """A figure's elements, with shared definitions under short ids."""

    def __init__(self, root: Element, colours: Mapping[str, str], prefix: str) -> None:
        self._root, self._colours, self._prefix = root, colours, prefix
        self._names: dict[str, str] = {}
        self._definitions: dict[str, Element] = {}
        self._found = {element.get("id", ""): element for element in root.iter()}
        self._images = Counter(element.get(XLINK) for element in root.iter(f"{SVG}image"))

    def elements(self) -> list[Element]:
        """Return the figure's elements, preceded by its definitions."""
        drawn = self._grouped(self._content(self._root))
        used = set(
            re.findall(r"#([\w-]+)", "".join(tostring(element, encoding="unicode") for element in drawn))
        )
        definitions = Element("defs")
        definitions.extend(element for name, element in self._definitions.items() if name in used)
        return [definitions, *drawn] if len(definitions) else drawn

    def _content(self, parent: Element) -> list[Element]:
        """Convert the children of an element; groups without a purpose are dissolved."""
        content: list[Element] = []
        for child in parent:
            tag = child.tag.removeprefix(SVG)
            if tag in ("defs", "metadata"):
                continue
            if tag == "g":
                content += self._group(child)
            elif (element := self._element(tag, child)) is not None:
                content.append(element)
        return content

    def _group(self, group: Element) -> list[Element]:
        inner = self._content(group)
        if group.get("id", "").startswith("matplotlib.axis"):
            inner.sort(key=lambda element: _AXIS.index(element.tag) if element.tag in _AXIS else -1)
        kept = {name: self._referring(value) for name, value in group.attrib.items() if name != "id"}
        if not kept or not inner:
            return inner
        element = Element("g", kept)
        element.extend(self._grouped(inner))
        return [element]

    def _element(self, tag: str, found: Element) -> Element | None:
        style = self._style(found.get("style", ""))
        element = Element(tag, {"style": style} if style else {})
        if "clip-path" in found.attrib:
            element.set("clip-path", self._referring(found.attrib["clip-path"]))
        if tag == "path":
            if style == "fill: none" or "d" not in found.attrib:
                return None
            element.set("d", path(found.attrib["d"]))
        elif tag == "image":
            return self._image(found)
        elif tag == "use":
            element.set("href", self._defined(found.attrib[XLINK].removeprefix("#")))
        elif tag == "text":
            element.text = found.text
            element.extend(found)
            rotation = found.get("transform", "")
            if rotation and not re.match(r"rotate\(-?0 ", rotation):
                element.set("transform", _rounded(rotation))
        for name in ("x", "y"):
            if name in found.attrib:
                element.set(name, _rounded(found.attrib[name]))
        return element

    def _image(self, found: Element) -> Element:
        """Convert an image; one that is drawn several times is stored once."""
        source = found.attrib[XLINK]
        attributes = {name: found.attrib[name] for name in ("width", "height")}
        attributes["style"] = "image-rendering: pixelated"
        place = {"transform": _rounded(found.attrib["transform"], 3)} if "transform" in found.attrib else {}
        place |= {name: _rounded(found.attrib[name]) for name in ("x", "y") if name in found.attrib}
        if self._images[source] == 1:
            return Element("image", {**attributes, **place, "href": compressed(source)})
        if source not in self._names:
            name = self._name(source)
            self._definitions[name] = Element("image", {"id": name, **attributes, "href": compressed(source)})
        return Element("use", {"href": f"#{self._names[source]}", **place})

    def _defined(self, name: str) -> str:
        """Keep the definition with this id; returns the reference to it."""
        if name not in self._names:
            found, own = self._found[name], self._name(name)
            style = self._style(found.get("style", ""))
            element = Element(
                "path", {"id": own, "d": path(found.attrib["d"], 2)} | ({"style": style} if style else {})
            )
            self._definitions[own] = element
        return f"#{self._names[name]}"

    def _grouped(self, elements: list[Element]) -> list[Element]:
        """Join consecutive elements of the same style: lines to a path, points to a path of markers, and texts."""

        def kind(element: Element) -> tuple[str | None, ...]:
            return element.tag, *(element.get(name) for name in ("style", "clip-path", "href"))

        grouped: list[Element] = []
        for (tag, style, clip, href), members in groupby(elements, kind):
            run, clipped = list(members), {"clip-path": clip} if clip else {}
            if tag == "path" and style and "fill: none" in style and "opacity" not in style:
                lines = "".join(element.attrib["d"] for element in run)
                grouped.append(Element("path", {"style": style, **clipped, "d": lines}))
            elif tag == "use" and href and style and len(run) >= FEWEST_POINTS:
                marker = self._marker(href.removeprefix("#"), style)
                corners = " L ".join(f"{element.get('x')} {element.get('y')}" for element in run)
                drawn = {"d": path(f"M {corners}"), "style": f"fill: none; marker: url(#{marker})"}
                grouped.append(Element("path", {**drawn, **clipped}))
            elif tag == "text" and style and len(run) > 1:
                for element in run:
                    del element.attrib["style"]
                grouped.append(Element("g", {"style": style}))
                grouped[-1].extend(run)
            else:
                grouped += run
        return grouped

    def _marker(self, name: str, style: str) -> str:
        """Define the marker that draws the definition `name` in a style; returns its name."""
        own = self._names.get(f"{name} {style}")
        if own is None:
            own = self._name(f"{name} {style}")
            marker = Element(
                "marker", {"id": own, "markerUnits": "userSpaceOnUse", "style": "overflow: visible"}
            )
            shape = self._definitions[name]
            joined = {**_properties(style), **_properties(shape.get("style", ""))}
            text = "; ".join(f"{key}: {value}" for key, value in joined.items())
            marker.append(Element("path", {"d": shape.attrib["d"], "style": text}))
            self._definitions[own] = marker
        return own

    def _name(self, key: str) -> str:
        self._names[key] = f"{self._prefix}{len(self._names)}"
        return self._names[key]

    def _referring(self, value: str) -> str:
        """Keep the clip path that an attribute refers to."""
        match = re.fullmatch(r"url\(#(.*)\)", value)
        if match is None:
            return value
        if match[1] not in self._names:
            own = self._name(match[1])
            clip = Element("clipPath", {"id": own})
            for shape in self._found[match[1]]:
                attributes = {k: _rounded(v) for k, v in shape.attrib.items() if k != "d"}
                drawn = {"d": path(shape.attrib["d"])} if "d" in shape.attrib else {}
                clip.append(Element(shape.tag.removeprefix(SVG), attributes | drawn))
            self._definitions[own] = clip
        return f"url(#{self._names[match[1]]})"

    def _style(self, text: str) -> str:
        """Name the page's variables as colours, and leave the font to the page."""
        kept = []
        for name, value in _properties(text).items():
            if name != "font-family":
                kept.append(
                    f"{name}: var(--{self._colours[value]})" if value in self._colours else f"{name}: {value}"
                )
        return "; ".join(kept)


def path(text: str, digits: int = 1) -> str:
    """Write matplotlib's path, which has absolute coordinates, with relative ones rounded to `digits`.

    The rounding errors do not add up, because every coordinate is rounded before the differences are taken.
    """
    scale = 10**digits
    written: list[str] = []
    last, start = (0, 0), (0, 0)
    for command, numbers in re.findall(r"([MLQCz])([^MLQCz]*)", text):
        values = [round(float(number) * scale) for number in numbers.split()]
        points = list(zip(values[::2], values[1::2], strict=True))
        if command == "M":
            last = start = points[0]
            written.append("M" + _joined(last, digits))
        elif command == "z":
            last = start
            written.append("z")
        else:
            steps = [(x - last[0], y - last[1]) for x, y in points]
            last = points[-1]
            written.append(_step(command.lower(), steps, digits))
    return "".join(written)


def _step(command: str, steps: list[tuple[int, int]], digits: int) -> str:
    across, down = steps[-1]
    if command == "l" and not down:
        return "h" + _number(across, digits)
    if command == "l" and not across:
        return "v" + _number(down, digits)
    return command + _joined([value for step in steps for value in step], digits)


def _joined(values: Iterable[int], digits: int) -> str:
    texts = [_number(value, digits) for value in values]
    return texts[0] + "".join(text if text.startswith("-") else f" {text}" for text in texts[1:])


def _number(value: int, digits: int) -> str:
    whole, rest = divmod(abs(value), 10**digits)
    fraction = f".{rest:0{digits}d}".rstrip("0") if rest else ""
    text = f"{whole or ''}{fraction}" or "0"
    return f"-{text}" if value < 0 else text


def _rounded(text: str, digits: int = 1) -> str:
    """Round all numbers in an attribute."""
    return re.sub(r"-?\d*\.\d+", lambda match: f"{float(match[0]):.{digits}f}".rstrip("0").rstrip("."), text)


def _properties(style: str) -> dict[str, str]:
    """Parse a style attribute."""
    pairs = (part.partition(":") for part in style.split(";") if part.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def compressed(source: str) -> str:
    """Convert a PNG file, as a ``data:`` address, to JPEG with full resolution in colour; it is smaller by half."""
    image = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    if np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        return re.sub(r"\s", "", source)
    smaller = io.BytesIO()
    image.convert("RGB").save(smaller, "jpeg", quality=IMAGE_QUALITY, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(smaller.getvalue()).decode()}"
