"""The distance of two layouts: the same in the database as in Python."""

from __future__ import annotations

import random

import pytest
from django.db import connection

from request_images.db.expressions import HammingDistance
from request_images.images.hashes import distance
from request_images.models import ImageContent
from tests.factories import make_content
from tests.image_files import draw

pytestmark = pytest.mark.django_db


def test_distance_equals_that_of_python():
    """From none of the bits to all of them."""
    rng = random.Random(4)
    layouts = ["0" * 64, "f" * 64, *(rng.randbytes(32).hex() for _ in range(6))]
    for seed, layout in enumerate(layouts):
        content = make_content(draw(seed=seed))
        ImageContent.objects.filter(pk=content.pk).update(layout=layout)
    for other in layouts:
        far = HammingDistance("layout", other)
        rows = ImageContent.objects.annotate(far=far).values_list("layout", "far")
        assert dict(rows) == {layout: distance(layout, other) for layout in layouts}


@pytest.mark.django_db(transaction=True)
def test_distance_on_a_new_connection():
    """Nothing has to be prepared."""
    connection.close()
    rows = ImageContent.objects.annotate(far=HammingDistance("layout", "0" * 64))
    assert list(rows) == []
