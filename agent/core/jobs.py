"""Slow work beside the loop: what is ordered, and what comes back. A job is known by its id.

What a job does stands in its order; which function carries it out, in the room `agent.jobs`.
"""

from msgspec import Struct


class StartJob(Struct, frozen=True):
    """Effect: carry out `order` in a thread of its own; ends in one JobDone or JobFailed, unless
    it is canceled."""

    job_id: str
    order: object


class CancelJob(Struct, frozen=True):
    """Effect: nothing more is heard of the job; what it left behind it removes itself."""

    job_id: str


class JobMoved(Struct, frozen=True):
    """Event: progress; `percent` is -1 where nobody knows how much there is."""

    job_id: str
    step: str
    percent: int = -1


class JobDone(Struct, frozen=True):
    """Event: the job is done; what it found out depends on the order."""

    job_id: str
    result: object = None


class JobFailed(Struct, frozen=True):
    """Event: it came to nothing. `cause` is one word for programs, `text` a line for humans."""

    job_id: str
    cause: str
    text: str
