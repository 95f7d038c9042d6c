"""The declarations of image properties keep what their users rely on."""

from __future__ import annotations

import pytest

from request_images.aggregation.facets import Property
from request_images.aggregation.properties import (
    DECLARED,
    DIMENSIONS,
    IMAGE_PROPERTIES,
)


@pytest.mark.parametrize("each", IMAGE_PROPERTIES, ids=lambda each: each.name)
def test_unknown_value_is_described_with_the_label(each):
    """A sentence about images without a value names the property."""
    assert str(each.label) in each.described("")


def test_dimensions_have_a_parameter_for_each_side():
    """A link to a size leads to both sides."""
    assert DIMENSIONS.parameters("640x480") == {"width": "640", "height": "480"}
    assert DIMENSIONS.parameters("") == {}


def test_agreement_is_described_without_the_label():
    """The words name the property themselves."""
    for value, words in DECLARED.options().items():
        assert DECLARED.described(value) == str(words)


def test_kind_without_values_is_refused():
    """A new kind of property says what its values and parameters are."""
    new = Property(name="new", columns=())
    with pytest.raises(NotImplementedError):
        new.options()
    with pytest.raises(NotImplementedError):
        new.value()
