"""What is tried after a failed write, in which order, by the kind of the fault.

The write itself has repeated what met another transaction (`db.retry`), and what was
lost with its connection (`rows.save_once`). A request for which no step succeeds is
lost, and counted.
"""

from __future__ import annotations

from enum import Enum

from request_images.db.errors import Fault, fault_of


class Step(Enum):
    """A step after a failed write; the value describes it in the documentation."""

    SPOOL = "the spool folder takes the request, with its images"
    WAIT = "the background thread keeps the request and tries again each second"
    LESS = "smaller and smaller copies are written"


STEPS: dict[Fault, tuple[Step, ...]] = {
    Fault.CONFLICT: (Step.SPOOL, Step.WAIT, Step.LESS),
    Fault.BUSY: (Step.SPOOL, Step.WAIT, Step.LESS),
    Fault.AWAY: (Step.SPOOL, Step.WAIT, Step.LESS),
    Fault.STORAGE: (Step.SPOOL, Step.WAIT, Step.LESS),
    Fault.REFUSED: (Step.LESS, Step.SPOOL),
    Fault.ROW: (Step.LESS, Step.SPOOL),
}
"""The steps after each kind of fault.

`Step.WAIT` needs a server's request and room in the queue; `Step.SPOOL` needs a folder
with room.
"""


def steps_after(failure: Exception) -> tuple[Step, ...]:
    """Return the steps after a write has failed, in their order."""
    return STEPS[fault_of(failure)]
