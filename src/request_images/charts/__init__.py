"""Numbers in, accessible SVG out: charts without a chart library, and without Django.

A chart is a `Chart`: a drawing, a legend, and a table of the same numbers, all texts
in it. The template ``request_images/charts/chart.html`` writes one, and
``request_images/charts/tile.html`` a `Tile`; their looks are in ``charts.css``.
"""

from .bars import Bar, Measure, bar_chart
from .figure import Chart, Heading, Key, Row, Table
from .growth import Level, growth_chart
from .heatmap import Cell, heatmap
from .lines import Slot, line_chart
from .notation import Grain, Notation, Quantity
from .periods import Marker
from .sampling import Dot, Sample, sample
from .scatter import scatter
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
    "Sample",
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
    "sample",
    "scatter",
    "stacked_bars",
    "tile",
]
