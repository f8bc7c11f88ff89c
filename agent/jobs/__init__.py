"""Slow work beside the loop: a job is a function in a thread, and reports back as events.

`Jobs` runs what `agent.core.jobs.StartJob` orders. A job is `work(order, task) -> result`: it may
block, asks `task.check()` often whether it is still wanted, and raises JobError where it fails.

`Chores` are the other room, of work that is short and whose sequence counts: a key is on the disk
before those beside it are swept away, a line of the security log follows the one before it. They
have one thread, no progress and no cancelling. A download of an hour must not keep a
CertificateSigned waiting that the CSMS wants answered in seconds, so neither does the other's work.
"""

from agent.jobs.threads import Canceled, JobError, Jobs, Task, Work

__all__ = ["SECURITY_LOG", "UPLOADS", "Canceled", "JobError", "Jobs", "Task", "Work"]

UPLOADS = "upload"
"""Where a log lies while it is sent; what a power cut leaves of it goes with the next start."""
SECURITY_LOG = "security.log"
"""In the data directory: `agent.jobs.security_log` writes it, `agent.jobs.logs` sends it."""
