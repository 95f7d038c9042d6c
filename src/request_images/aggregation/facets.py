"""The kinds of facets: what divides requests, and what each of its values means.

`properties` declares the facets themselves. Statistics store a facet by its name and a
value by its text, so neither is ever renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from request_images.outcome import CaptureStatus

from .bins import Bin, bin_of, bins_between, range_in_words, write_number

Text = str | Promise
YES, NO = "yes", "no"
AS_DECLARED, OTHER = "same", "other"
UNTOLD = "-"
"""The parameter's text for a request without an error type, a status or a release."""


@dataclass(frozen=True, eq=False)
class Facet:
    """A division of requests by one of their properties.

    Attributes:
        name: The name in the statistics' tables, in JSON and in URLs.
        label: The name in the middle of a sentence.
        is_of_contents: Whether it divides stored contents, and not requests.
    """

    name: str
    label: Text = ""
    is_of_contents: bool = field(default=False, kw_only=True)

    @property
    def title(self) -> str:
        """The heading of a chart with one row a value."""
        return gettext("By %(property)s") % {"property": self.label}

    def key(self, value: str) -> dict[str, Any]:
        """Return what a value means, by JSON names."""
        return {"storage" if self.is_of_contents else self.name: value}

    def parameters(self, value: str) -> dict[str, str]:
        """Return the query parameters that find a value; none if no parameter can."""
        return {self.name: value} if value else {}

    def words(self, value: str) -> str:
        """Return a value as it stands below the facet's title."""
        return value or gettext("unknown")

    def described(self, value: str) -> str:
        """Return a value with the facet's label, as it stands alone."""
        text = gettext("%(property)s %(value)s")
        return text % {"property": self.label, "value": self.words(value)}


class AllFacet(Facet):
    """No division: all requests together."""

    def key(self, value: str) -> dict[str, Any]:
        """Return nothing: there is one value."""
        return {}


class ErrorFacet(Facet):
    """The status and the error type of failed requests, as ``"422 no_barcode"``."""

    def key(self, value: str) -> dict[str, Any]:
        """Return the error type, and the status or None."""
        status, _, error_type = value.partition(" ")
        return {"error_type": error_type, "status_code": _integer(status)}

    def parameters(self, value: str) -> dict[str, str]:
        """Return the parameters for failed requests with both."""
        status, _, error_type = value.partition(" ")
        texts = {"status": status or UNTOLD, "error_type": error_type or UNTOLD}
        return {"outcome": "failed", **texts}

    def words(self, value: str) -> str:
        """Return the error type with the status, or the one that is known."""
        status, _, error_type = value.partition(" ")
        return f"{error_type} ({status})" if status and error_type else value.strip()


class ReleaseFacet(Facet):
    """The release that handled a request."""

    def parameters(self, value: str) -> dict[str, str]:
        """Return the parameter; none for a release named like the text for none."""
        return {} if value == UNTOLD else {self.name: value or UNTOLD}


class CaptureStatusFacet(Facet):
    """The capture status of a request."""

    def words(self, value: str) -> str:
        """Return the label of a status."""
        return str(CaptureStatus(value).label)


@dataclass(frozen=True, eq=False, kw_only=True)
class Property(Facet):
    """A property of an image.

    Attributes:
        columns: The fields of `RequestImage` that it is made of.
        about: The requests that its query parameter finds, for the documentation.
        sample: A text of its query parameter, for documentation and tests.
        is_compared: Whether its values are compared to find what sets failed or slow
            requests apart.
        is_prominent: Whether its chart is part of the dashboard, and not of a panel.
    """

    columns: tuple[str, ...]
    about: str = ""
    sample: str = ""
    is_compared: bool = True
    is_prominent: bool = False

    def options(self) -> Mapping[str, Text]:
        """Return each text of the query parameter, in words; none for no parameter."""
        raise NotImplementedError

    def value(self, *columns: Any) -> str:
        """Return the value of an image; empty if it is unknown.

        Args:
            columns: What the fields hold.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False, kw_only=True)
class Dimensions(Property):
    """Width and height, as ``"640x480"``; each has a query parameter of its own."""

    def options(self) -> Mapping[str, Text]:
        """Return nothing."""
        return {}

    def value(self, *columns: int | None) -> str:
        """Return both, or nothing if one is unknown."""
        return "" if None in columns else "x".join(map(str, columns))

    def key(self, value: str) -> dict[str, Any]:
        """Return width and height in pixels, or None."""
        sides = value.split("x") if value else ("", "")
        return dict(zip(self.columns, map(_integer, sides), strict=True))

    def parameters(self, value: str) -> dict[str, str]:
        """Return a parameter for each side."""
        return {name: str(side) for name, side in self.key(value).items() if value}


@dataclass(frozen=True, eq=False, kw_only=True)
class Choice(Property):
    """A text, one of several.

    Attributes:
        known: The texts.
        speaks: Whether a text is understood without the label.
    """

    known: tuple[str, ...]
    speaks: bool = False

    def options(self) -> Mapping[str, Text]:
        """Return the texts as they are."""
        return {text: text for text in self.known}

    def value(self, *columns: str) -> str:
        """Return the text."""
        return columns[0] or ""

    def described(self, value: str) -> str:
        """Return a value with the label, unless it is understood without."""
        return value if value and self.speaks else super().described(value)


@dataclass(frozen=True, eq=False, kw_only=True)
class Flag(Property):
    """A property that is true or false.

    Attributes:
        so: The words for images with the property, where they stand alone.
        not_so: The words for images without it.
    """

    so: Text
    not_so: Text

    @property
    def title(self) -> str:
        """The heading of a chart."""
        return capfirst(str(self.label))

    def options(self) -> Mapping[str, Text]:
        """Return yes and no."""
        return {YES: _("yes"), NO: _("no")}

    def value(self, *columns: bool | None) -> str:
        """Return yes or no, or nothing if it is unknown."""
        return "" if columns[0] is None else YES if columns[0] else NO

    def key(self, value: str) -> dict[str, Any]:
        """Return true, false or None."""
        return {self.name: {YES: True, NO: False}.get(value)}

    def words(self, value: str) -> str:
        """Return yes or no."""
        return str(self.options()[value]) if value else super().words(value)

    def described(self, value: str) -> str:
        """Return the words for images with the property, or without it."""
        texts = {YES: self.so, NO: self.not_so}
        return str(texts[value]) if value else super().described(value)


@dataclass(frozen=True, eq=False, kw_only=True)
class Agreement(Property):
    """Whether two columns have the same text; unknown if one of them is empty.

    Attributes:
        same: The words for images whose texts are the same.
        other: The words for images whose texts differ.
    """

    same: Text
    other: Text

    def options(self) -> Mapping[str, Text]:
        """Return the words for the same text and for another."""
        return {AS_DECLARED: self.same, OTHER: self.other}

    def value(self, *columns: str) -> str:
        """Return whether the texts of both columns are the same."""
        if not all(columns):
            return ""
        return AS_DECLARED if columns[0] == columns[1] else OTHER

    def words(self, value: str) -> str:
        """Return the words of a value."""
        return str(self.options()[value]) if value else super().words(value)

    def described(self, value: str) -> str:
        """Return the words of a value, which need no label."""
        return self.words(value) if value else super().described(value)


@dataclass(frozen=True, eq=False, kw_only=True)
class Number(Property):
    """A number in bins: ``factor`` times the product of ``columns``, or a quotient.

    Attributes:
        bounds: The bounds of its bins. Statistics store a bin by its lower bound, so
            that a later version may have more bounds.
        per: Those of the columns that are divided by. They must be `positive`.
        positive: Those of the columns that must not be 0, or the number is unknown.
        factor: The factor.
        unit: The unit of the bounds in the query parameter.
        write: Returns a bound in words.
        pattern: The words for a bin; its placeholder is ``range``.
        bin_names: A name for each bin, which comes before the range.
    """

    bounds: tuple[float, ...]
    per: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    factor: Fraction = Fraction(1)
    unit: int = 1
    write: Callable[[float], str] = write_number
    pattern: Text = "%(range)s"
    bin_names: tuple[Text, ...] = ()

    @cached_property
    def bins(self) -> tuple[Bin, ...]:
        """The bins, from 0 to infinity."""
        return bins_between(self.bounds, self.unit)

    def number(self, *columns: int | None) -> float | None:
        """Return the number of an image; None if it is unknown."""
        over, under = self.factor.numerator, self.factor.denominator
        for name, value in zip(self.columns, columns, strict=True):
            if value is None or (not value and name in self.positive):
                return None
            if name in self.per:
                under *= value
            else:
                over *= value
        return over / under

    def bin(self, *columns: int | None) -> Bin | None:
        """Return the bin of an image; None if its number is unknown."""
        number = self.number(*columns)
        return None if number is None else bin_of(number, self.bins)

    def bin_in_words(self, each: Bin) -> str:
        """Return a bin in words, such as "2 to 5 megapixels"."""
        text = str(self.pattern) % {"range": range_in_words(each, self.write)}
        names = self.bin_names
        return f"{names[self.bins.index(each)]} ({text})" if names else text

    def options(self) -> Mapping[str, Text]:
        """Return the bins by their names."""
        return {each.name: self.bin_in_words(each) for each in self.bins}

    def value(self, *columns: int | None) -> str:
        """Return the lower bound of an image's bin."""
        found = self.bin(*columns)
        return "" if found is None else str(found.low)

    def key(self, value: str) -> dict[str, Any]:
        """Return the bounds of a bin: None for no bound, and both if unknown."""
        low = high = None
        if value:
            low = float(value) if "." in value else int(value)
            high = next((bound for bound in self.bounds if bound > low), None)
        return {f"{self.name}_from": low, f"{self.name}_below": high}

    def parameters(self, value: str) -> dict[str, str]:
        """Return the parameter for the bin of a lower bound."""
        return {self.name: bin_of(float(value), self.bins).name} if value else {}

    def words(self, value: str) -> str:
        """Return the bin of a lower bound in words."""
        if not value:
            return super().words(value)
        return self.bin_in_words(bin_of(float(value), self.bins))

    def described(self, value: str) -> str:
        """Return the bin, with the label unless its words name the property."""
        speaks = value and (self.bin_names or self.pattern != "%(range)s")
        return self.words(value) if speaks else super().described(value)


@dataclass(frozen=True)
class Measure:
    """A measure of a picture's pixels, stored with the content of an image.

    Its query parameter takes any range. No statistics are kept of it.

    Attributes:
        name: The field of `ImageContent`, and the query parameter.
        label: The name in the middle of a sentence.
        bounds: The bounds of the bins that failed pictures are compared by.
        about: The requests that its query parameter finds, for the documentation.
        sample: A text of its query parameter, for documentation and tests.
    """

    name: str
    label: Text
    bounds: tuple[float, ...]
    about: str = ""
    sample: str = ""

    @cached_property
    def bins(self) -> tuple[Bin, ...]:
        """The bins, from 0 to infinity."""
        return bins_between(self.bounds)


def _integer(text: str) -> int | None:
    return int(text) if text else None
