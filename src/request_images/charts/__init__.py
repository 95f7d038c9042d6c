"""Numbers in, accessible SVG out: charts without a chart library, and without Django.

A `Chart` is a drawing, a legend, and a table of the same numbers, with all their texts.
The template ``request_images/charts/chart.html`` writes a `Chart`, and
``request_images/charts/tile.html`` a `Tile`; ``charts.css`` styles them.
"""

from .bars import Bar, Measure, bar_chart
from .figure import Chart, Heading, Key, Row, Table
from .growth import Level, growth_chart
from .heatmap import Cell, heatmap
from .lines import Marker, Slot, line_chart
from .notation import Grain, Notation, Quantity
from .scatter import Dot, scatter
from .stacks import Stack, stacked_bars
from .svg import Svg
from .tiles import Tile, Verdict, tile

__all__ = [
    "Bar",
    "Cell",
    "Chart",
    "Dot",
    "Grain",
    "Heading",
    "Key",
    "Level",
    "Marker",
    "Measure",
    "Notation",
    "Quantity",
    "Row",
    "Slot",
    "Stack",
    "Svg",
    "Table",
    "Tile",
    "Verdict",
    "bar_chart",
    "growth_chart",
    "heatmap",
    "line_chart",
    "scatter",
    "stacked_bars",
    "tile",
]
