"""For all tests: nothing that one of them hides from the log is hidden from the next."""

from collections.abc import Iterator

import pymodbus.client  # noqa: F401  (lines load it in a thread, which virtual time does not see)
import pytest

from agent import log


@pytest.fixture(autouse=True)
def own_secrets() -> Iterator[None]:
    kept = set(log._secrets)
    yield
    log._secrets.clear()
    log._secrets.update(kept)
