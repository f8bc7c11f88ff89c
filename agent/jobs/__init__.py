"""Slow work beside the loop: a job is a function in a thread, and reports back as events.

`Jobs` runs what `agent.core.jobs.StartJob` orders. A job is `work(order, task) -> result`: it may
block, asks `task.check()` often whether it is still wanted, and raises JobError where it fails.
"""

from agent.jobs.threads import Canceled, JobError, Jobs, Task, Work

__all__ = ["UPLOADS", "Canceled", "JobError", "Jobs", "Task", "Work"]

UPLOADS = "upload"
"""Where a log lies while it is sent; what a power cut leaves of it goes with the next start."""
