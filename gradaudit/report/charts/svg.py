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
_POLYLINE = re.compile(r"(?:[ML]-?\d+(?:\.\d+)?[ ,]-?\d+(?:\.\d+)?|Z)+")
_CORNER = re.compile(r"([MLZ])(?:([-\d.]+)[ ,]([-\d.]+))?")
_REFERENCE = re.compile(r"url\(#([\w-]+)\)")
_URL = re.compile(r"url\s*\(", re.IGNORECASE)


def sanitize(raw: str, *, identifier: str, title: str, description: str) -> str:
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
                child.set(key, path_of(value) if key == "d" else _rounded(value))
        if local == "image":
            child.set("href", link)
            child.set("preserveAspectRatio", "none")
            child.set("image-rendering", "pixelated")  # else a fault of one row blurs away
        if "id" in child.attrib:
            ids[child.attrib["id"]] = f"{identifier}-{len(ids)}"
        _clean(child, identifier, ids)
        if _draws_nothing(child, local):
            parent.remove(child)


def _rounded(value: str) -> str:
    """Numbers to a tenth of a px, without a zero behind the point."""
    return re.sub(r"\.0(?!\d)", "", re.sub(r"(\d\.\d)\d+", r"\1", value))


def path_of(value: str) -> str:
    """A path to a tenth of a px; corners of lines as steps from the one before, which takes half of the bytes.

    Steps lie between rounded corners, so that errors do not add up.
    """
    if not _POLYLINE.fullmatch(value):
        return _rounded(value)
    words: list[str] = []
    x = y = start_x = start_y = 0
    before = ""
    for command, first, second in _CORNER.findall(value):
        if command == "Z":
            words.append("Z")
            x, y = start_x, start_y
        else:
            to_x, to_y = round(float(first) * 10), round(float(second) * 10)
            if command == "M":
                start_x, start_y = to_x, to_y
                pair = _tenths(to_x), _tenths(to_y)
            else:
                pair = _tenths(to_x - x), _tenths(to_y - y)
            letter = "M" if command == "M" else "" if before == "L" else "l"
            gap = "" if letter or pair[0].startswith("-") else " "
            words.append(f"{letter}{gap}{pair[0]}{'' if pair[1].startswith('-') else ' '}{pair[1]}")
            x, y = to_x, to_y
        before = command
    return "".join(words)


def _tenths(number: int) -> str:
    """A number of tenths: 12, .3, -1.5."""
    whole, tenth = divmod(abs(number), 10)
    sign = "-" if number < 0 else ""
    return f"{sign}{whole or ''}.{tenth}" if tenth else f"{sign}{whole}"


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
