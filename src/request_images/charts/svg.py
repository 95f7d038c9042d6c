"""Pieces of SVG as text: everything escaped, numbers short, long names cut."""

from __future__ import annotations

import math
import re
import unicodedata
from functools import lru_cache
from html import escape

LARGEST = 1e18
"""Numbers beyond it are refused: nothing that is measured here is as large."""

FONT_SIZE = 12.0

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# They would turn around what stands beside them.
_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ISOLATE, _END = "\u2068", "\u2069"
_LONGEST_TITLE = 500  # characters


class Svg(str):
    """Text that is markup already. Templates write it as it is."""

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
    """Return a text without what XML has no place for, and what turns its writing."""
    return " ".join(_TURNS.sub("", _NO_XML.sub("\ufffd", text)).split())


def isolated(text: str) -> str:
    """Return a foreign name so that its direction of writing stays its own.

    By Unicode's isolates (UAX #9), only where a letter runs from right to left.
    """
    text = cleaned(text)
    if any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in text):
        return f"{_ISOLATE}{text}{_END}"
    return text


def width_of(text: str) -> float:
    """Return about how wide a text is drawn, rather too much than too little."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return FONT_SIZE * (0.64 * (len(text) - wide) + wide)


def cut(text: str, room: float) -> str:
    """Return a text that fits into some room, its end replaced by an ellipsis."""
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
        children: What is in it, markup already.
        attributes: In Python's spelling: ``class_``, ``aria_label``. None leaves one
            out, a float is a coordinate, and everything is escaped.
    """
    written = "".join(
        f' {_spelled(key)}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if not children:
        return Svg(f"<{name}{written}/>")
    return Svg(f"<{name}{written}>{''.join(children)}</{name}>")


@lru_cache
def _spelled(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    return escape(_NO_XML.sub("\ufffd", str(value)))


def written(text: str) -> Svg:
    """Return a text as markup."""
    return Svg(escape(cleaned_title(text), quote=False))


def cleaned_title(text: str) -> str:
    """Return a text for a tooltip, where hostile length ends somewhere."""
    text = _NO_XML.sub("\ufffd", text)
    return text if len(text) <= _LONGEST_TITLE else f"{text[: _LONGEST_TITLE - 1]}…"


def title(text: str) -> Svg:
    """Return the tooltip of the element it is put into, which also names it."""
    return tag("title", written(text))


def label(
    x: float, y: float, text: str, css: str = "ri-label", room: float | None = None
) -> Svg:
    """Return a text on the drawing; what was cut is in its tooltip.

    Args:
        x: Where it begins, ends or has its middle, as the class says.
        y: Its base line.
        text: What to write.
        css: Its classes.
        room: How wide it may be; None for any width.
    """
    short = cleaned(text) if room is None else cut(text, room)
    parts = [Svg(escape(short, quote=False))]
    if short != cleaned(text):
        parts.insert(0, title(text))
    return tag("text", *parts, x=float(x), y=float(y), class_=css)


def linked(href: str, text: str, *marks: Svg, tabindex: int | None = None) -> Svg:
    """Return marks with a tooltip that lead somewhere, or that only have the tooltip.

    Args:
        href: Where to; empty for nowhere.
        text: The tooltip, and the name for those who do not see the marks.
        marks: What is drawn.
        tabindex: -1 to leave a link out of the way of the Tab key.
    """
    if href:
        return tag("a", title(text), *marks, href=href, tabindex=tabindex)
    # Without a link it is still something to read.
    return tag("g", title(text), *marks, role="img")
