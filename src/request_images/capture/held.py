"""The bytes that running requests hold in this process, and the budget for them."""

from __future__ import annotations

import os

_sizes: dict[int, int] = {}


class Held:
    """The bytes that one running request holds.

    Thousands of views may run for minutes. A budget limits what they hold together:
    beyond it the newest image is dropped, before the process runs out of memory.

    Args:
        budget: Bytes that all requests of the process may hold together.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget

    def take(self, size: int) -> bool:
        """Hold `size` more bytes; return False if the budget does not have them."""
        # No lock, for `__del__` may run in the middle of anything. Two threads may pass
        # at the same time, and exceed the budget by one chunk each.
        if total() + size > self._budget:
            return False
        _sizes[id(self)] = _sizes.get(id(self), 0) + size
        return True

    def give_back(self, size: int) -> None:
        """Hold `size` bytes less."""
        _sizes[id(self)] = _sizes.get(id(self), 0) - size

    def clear(self) -> None:
        """Give everything back."""
        _sizes.pop(id(self), None)

    # A request that is never ended must not hold its part of the budget for ever.
    __del__ = clear


def total() -> int:
    """Return the bytes that all running requests hold."""
    return sum(list(_sizes.values()))


# A child of a fork does not run its parent's requests.
os.register_at_fork(after_in_child=_sizes.clear)
