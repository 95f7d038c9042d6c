"""Readers of the SVG of charts: positions, texts and links of its marks."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from request_images.charts import Chart
from request_images.charts.svg import width_of

NS = "{http://www.w3.org/2000/svg}"
_COMMAND = re.compile(r"([MLHVZmlhv])([^MLHVZmlhv]*)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def parse(chart: Chart) -> ET.Element:
    """Parse the drawing of a chart, which must be well-formed."""
    return ET.fromstring(chart.svg)


def with_class(chart: Chart, name: str) -> list[ET.Element]:
    """Return the elements with a class."""
    return [e for e in parse(chart).iter() if name in e.get("class", "").split()]


def tooltips(chart: Chart) -> list[str]:
    """Return the tooltip of each mark."""
    titles = [e.findtext(f"{NS}title") for e in parse(chart).iter() if e.tag != NS]
    return [text for text in titles if text is not None][1:]


def links(chart: Chart) -> list[str]:
    """Return the links of the marks."""
    return [e.get("href", "") for e in parse(chart).iter(f"{NS}a")]


def walk(d: str) -> list[tuple[float, float]]:
    """Return the points of a path."""
    x = y = 0.0
    points = []
    for command, rest in _COMMAND.findall(d):
        numbers = [float(number) for number in _NUMBER.findall(rest)]
        if command in "ML":
            x, y = numbers
        elif command in "ml":
            x, y = x + numbers[0], y + numbers[1]
        elif command in "Hh":
            x = numbers[0] + (x if command == "h" else 0)
        elif command in "Vv":
            y = numbers[0] + (y if command == "v" else 0)
        points.append((x, y))
    return points


def _points(element: ET.Element) -> list[tuple[float, float]]:
    name = element.tag.removeprefix(NS)

    def get(key: str) -> float:
        return float(element.get(key, 0))

    if name == "rect":
        assert get("width") >= 0
        assert get("height") >= 0
        x, y = get("x"), get("y")
        return [(x, y), (x + get("width"), y + get("height"))]
    if name == "circle":
        return [(get("cx"), get("cy"))]
    if name == "path":
        return walk(element.get("d", ""))
    if name == "text":
        # An element with a tooltip may contain a truncated text.
        cut = element.find(f"{NS}title")
        width = width_of((element.text if cut is None else cut.tail) or "")
        css = element.get("class", "")
        left = {"ri-end": width, "ri-middle": width / 2}
        begin = get("x") - next((w for key, w in left.items() if key in css), 0)
        return [(begin, get("y")), (begin + width, get("y"))]
    return []


def outside(chart: Chart) -> list[tuple[str, float, float]]:
    """Return the elements outside of the edges, which nobody can see."""
    root = parse(chart)
    _, _, width, height = map(float, root.get("viewBox").split())
    return [
        (element.tag, x, y)
        for element in root.iter()
        for x, y in _points(element)
        if not (-0.2 <= x <= width + 0.2 and -0.2 <= y <= height + 0.2)
    ]
