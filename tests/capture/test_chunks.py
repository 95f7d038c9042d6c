"""The chunks of a body, in any sizes and any order."""

from __future__ import annotations

import tracemalloc
from itertools import product

import pytest

from request_images.capture.chunks import Chunks

KB = 1024
SIZES = (0, 1, 4 * KB, 700 * KB)


@pytest.mark.parametrize("sizes", list(product(SIZES, repeat=4)))
def test_chunks_are_joined_in_order(sizes):
    """Large and small ones, and more than are kept loose."""
    chunks = Chunks()
    parts = [bytes([number]) * size for number, size in enumerate(sizes)]
    for part in parts:
        chunks.append(part)
    assert chunks.size == sum(sizes)
    assert chunks.join() == b"".join(parts)
    chunks.clear()
    assert (chunks.size, chunks.join()) == (0, b"")


@pytest.mark.parametrize("size", [1000, 3 * KB * KB])
def test_one_chunk_is_not_copied(size):
    """A parser reads on until it gets nothing, which is no other chunk."""
    chunks, data = Chunks(), bytes(size)
    for each in (data, b""):
        chunks.append(each)
    assert chunks.join() is data


@pytest.mark.parametrize("size", [2, 100, 5000])
def test_chunks_take_about_as_much_memory_as_they_have_bytes(size):
    """Also those of two bytes."""
    tracemalloc.start()
    try:
        chunks = Chunks()
        for _ in range(2_000_000 // size):
            chunks.append(bytes(bytearray(size)))
        now = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert now < 1.3 * chunks.size
