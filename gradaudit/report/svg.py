"""Turns the SVG of the chart engine into SVG that may stand in our page: an allow-list, unique ids, fewer bytes."""

import html
import re
from xml.etree import ElementTree

ELEMENTS = frozenset(("svg", "g", "path", "line", "rect", "text", "tspan", "image", "defs", "clipPath"))
# fmt: off
ATTRIBUTES = frozenset((
    "d", "transform", "x", "y", "x1", "y1", "x2", "y2", "dx", "dy", "width", "height", "fill", "fill-opacity", "stroke",
    "stroke-width", "stroke-dasharray", "stroke-opacity", "opacity", "text-anchor", "font-size", "font-weight",
    "font-style", "id", "clip-path",
))
# fmt: on
GEOMETRY = frozenset(("d", "transform", "x", "y", "x1", "y1", "x2", "y2", "width", "height"))
DEFAULTS = frozenset((
    ("opacity", "1"), ("stroke-width", "1"), ("font-style", "normal"), ("font-weight", "400"),
    ("font-weight", "normal"), ("transform", "translate(0,0)"),
))  # fmt: skip
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"

_NAMESPACE = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_IMAGE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")
_REFERENCE = re.compile(r"url\(#([\w-]+)\)")
_URL = re.compile(r"url\s*\(", re.IGNORECASE)


def tidy(raw: str, *, identifier: str, title: str, description: str) -> str:
    """An `<svg>` element to put into HTML as it is.

    Only `ELEMENTS` and `ATTRIBUTES` stay, images only as inline PNG, references only to ids of this
    picture; `identifier` must be unique on the page, since ids of inline SVGs share one name space.
    Raises ElementTree.ParseError when `raw` is not XML.
    """
    root = ElementTree.fromstring(raw)
    ids: dict[str, str] = {}
    _clean(root, identifier, ids)
    _refer(root, ids)
    width, height = root.get("width", "0"), root.get("height", "0")
    # Neither texts nor attributes hold a bare ">", so this is the end of an empty element.
    body = "".join(ElementTree.tostring(child, encoding="unicode") for child in root).replace(" />", "/>")
    return (
        f'<svg class="chart ink" width="{_number(width)}" height="{_number(height)}" '
        f'viewBox="0 0 {_number(width)} {_number(height)}" role="img" fill="none" font-family="{FONT}" '
        f'aria-labelledby="{identifier}-t {identifier}-d"><title id="{identifier}-t">{html.escape(title)}</title>'
        f'<desc id="{identifier}-d">{html.escape(description)}</desc>{body}</svg>'
    )


def _number(text: str) -> str:
    return f"{float(text):g}"


def _name(qualified: str) -> str:
    """The local name, or an empty one outside the SVG name space."""
    space, _, local = qualified.rpartition("}")
    return local if space in ("", "{" + _NAMESPACE) else ""


def _clean(parent: ElementTree.Element, identifier: str, ids: dict[str, str]) -> None:
    """Remove what is not allowed or draws nothing from below `parent`, children first."""
    for child in list(parent):
        local = _name(child.tag) if isinstance(child.tag, str) else ""
        link = child.get(_LINK) or child.get("href") or ""
        if local not in ELEMENTS or local == "svg" or (local == "image" and not _IMAGE.fullmatch(link)):
            parent.remove(child)
            continue
        child.tag = local
        for key, value in list(child.attrib.items()):
            if key not in ATTRIBUTES or (key, value) in DEFAULTS:
                del child.attrib[key]
            elif key in GEOMETRY:
                child.set(key, re.sub(r"(\d\.\d)\d+", r"\1", value))
        if local == "image":
            child.set("href", link)
            child.set("preserveAspectRatio", "none")
            child.set("image-rendering", "pixelated")  # else a fault of one row blurs away
        if "id" in child.attrib:
            ids[child.attrib["id"]] = f"{identifier}-{len(ids)}"
        _clean(child, identifier, ids)
        if _draws_nothing(child, local):
            parent.remove(child)


def _draws_nothing(element: ElementTree.Element, local: str) -> bool:
    if local == "g":
        return not len(element)
    return local == "path" and not ({"fill", "stroke"} & set(element.attrib)) and not element.get("clip-path")


def _refer(root: ElementTree.Element, ids: dict[str, str]) -> None:
    """Rename ids; a reference to anything but an id of this picture goes."""
    for element in root.iter():
        if "id" in element.attrib:
            element.set("id", ids[element.attrib["id"]])
        for key, value in list(element.attrib.items()):
            if key == "href" or not _URL.search(value):
                continue
            reference = _REFERENCE.fullmatch(value)
            if reference and reference.group(1) in ids:
                element.set(key, f"url(#{ids[reference.group(1)]})")
            else:
                del element.attrib[key]
