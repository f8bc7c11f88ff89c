"""For all tests: nothing that one of them hides from the log is hidden from the next, and what they
start hears Ctrl-C."""

import signal
from collections.abc import Iterator

import pymodbus.client  # noqa: F401  (lines load it in a thread, which virtual time does not see)
import pytest
from hypothesis import HealthCheck, settings

from agent import log

settings.register_profile(
    "steady",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("steady")  # a busy machine fails nothing; `own_secrets` is for all examples

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background; inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_secrets() -> Iterator[None]:
    kept = set(log._secrets)
    yield
    log._secrets.clear()
    log._secrets.update(kept)
