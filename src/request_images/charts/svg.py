"""SVG elements as text: everything escaped, numbers short, long names cut."""

from __future__ import annotations

import math
import re
import unicodedata
from functools import lru_cache
from html import escape

LARGEST = 1e18
"""The largest number that is drawn; nothing that is measured here is larger."""

FONT_SIZE = 12.0

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# These would reverse the direction of the text beside them.
_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ISOLATE, _END = "\u2068", "\u2069"
_LONGEST_TITLE = 500  # characters


class Svg(str):
    """Text that is markup already; templates write it unescaped."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


def number(value: float) -> str:
    """Write a coordinate: at most one decimal, no trailing zero."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def checked(value: float) -> float:
    """Return a number that can be drawn.

    Raises:
        ValueError: It is not finite, negative, or beyond `LARGEST`.
    """
    if not (math.isfinite(value) and 0 <= value <= LARGEST):
        raise ValueError(f"{value!r} cannot be drawn")
    return float(value)


def cleaned(text: str) -> str:
    """Return a text without characters that XML forbids or that turn its direction."""
    return " ".join(_DIRECTIONS.sub("", _NO_XML.sub("\ufffd", text)).split())


def isolated(text: str) -> str:
    """Return a name that does not change the writing direction of the text around it.

    Unicode's isolates (UAX #9) are added only if a letter runs from right to left.
    """
    text = cleaned(text)
    if any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in text):
        return f"{_ISOLATE}{text}{_END}"
    return text


def width_of(text: str) -> float:
    """Return the approximate width of a drawn text, rather too large than too small."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return FONT_SIZE * (0.64 * (len(text) - wide) + wide)


def cut(text: str, room: float) -> str:
    """Return a text that fits into a width; its end is replaced by an ellipsis."""
    text = cleaned(text)
    if width_of(text) <= room:
        return text
    while text and width_of(text + "…") > room:
        text = text[: -1 - len(text) // 16]
    return f"{text.rstrip()}…"


def tag(name: str, *children: Svg, **attributes: object) -> Svg:
    """Return an element.

    Args:
        name: Its name.
        children: Its content, markup already.
        attributes: In Python's spelling: ``class_``, ``aria_label``. None leaves one
            out, a float is a coordinate, and everything is escaped.
    """
    text = "".join(
        f' {_spelled(key)}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if not children:
        return Svg(f"<{name}{text}/>")
    return Svg(f"<{name}{text}>{''.join(children)}</{name}>")


@lru_cache
def _spelled(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    return escape(_NO_XML.sub("\ufffd", str(value)))


def path(d: str, css: str) -> Svg:
    """Return a path of a class."""
    return tag("path", d=d, class_=css)


def escaped(text: str) -> Svg:
    """Return a text as markup; one that is too long for a tooltip is cut."""
    text = _NO_XML.sub("\ufffd", text)
    if len(text) > _LONGEST_TITLE:
        text = f"{text[: _LONGEST_TITLE - 1]}…"
    return Svg(escape(text, quote=False))


def title(text: str) -> Svg:
    """Return the tooltip of its parent element, which is also its name."""
    return tag("title", escaped(text))


def label(
    x: float, y: float, text: str, css: str = "ri-label", room: float | None = None
) -> Svg:
    """Return a text on the drawing; the whole of a cut one is in its tooltip.

    Args:
        x: Its beginning, end or middle, as the class says.
        y: Its base line.
        text: The text.
        css: Its classes.
        room: Its largest width; None for any width.
    """
    short = cleaned(text) if room is None else cut(text, room)
    parts = [Svg(escape(short, quote=False))]
    if short != cleaned(text):
        parts.insert(0, title(text))
    return tag("text", *parts, x=float(x), y=float(y), class_=css)


def linked(href: str, text: str, *marks: Svg, tabindex: int | None = None) -> Svg:
    """Return marks with a tooltip, and a link if there is one.

    Args:
        href: The link; empty for none.
        text: The tooltip, which is also the name for screen readers.
        marks: What is drawn.
        tabindex: -1 to exclude a link from the order of the Tab key.
    """
    if href:
        return tag("a", title(text), *marks, href=href, tabindex=tabindex)
    return tag("g", title(text), *marks, role="img")
