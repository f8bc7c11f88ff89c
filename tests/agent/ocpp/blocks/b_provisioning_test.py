"""Block B: what an accepted boot brings, and what the connection needs of its variables."""

from typing import Any

import pytest

from agent.ocpp.blocks import b_provisioning
from tests.agent.ocpp.blocks.b_provisioning.provisioning_bench import NOW, view_of

# --- boot -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "interval"),
    [
        ({"status": "Accepted", "interval": 900}, "900"),
        ({"status": "Accepted", "interval": 0}, "300"),
        ({"status": "Accepted", "interval": 1_000_000}, "86400"),
        ({"status": "Pending", "interval": 900}, "300"),
        (None, "300"),
    ],
)
def test_the_interval_of_an_accepted_boot_becomes_the_heartbeat_interval(
    response: dict[str, Any] | None, interval: str
) -> None:
    """B01.FR.04."""
    view = view_of()
    found = b_provisioning.ON_RESPONSE["BootNotification"]({}, response, view, NOW)
    for event in found.events:
        b_provisioning.ON_EVENT[type(event)](event, view, NOW)
    assert view.variables.value("OCPPCommCtrlr", "HeartbeatInterval") == interval
    assert len(found.effects) == (interval != "300")


# --- what the others need -------------------------------------------------------------------------


def test_everything_the_connection_reads_is_declared_with_a_number() -> None:
    variables = view_of().variables
    read = [
        ("HeartbeatInterval", ""),
        ("MessageTimeout", "Default"),
        ("MessageAttempts", "TransactionEvent"),
        ("MessageAttemptInterval", "TransactionEvent"),
        ("RetryBackOffWaitMinimum", ""),
        ("RetryBackOffRepeatTimes", ""),
        ("RetryBackOffRandomRange", ""),
        ("NetworkProfileConnectionAttempts", ""),
        ("WebSocketPingInterval", ""),
        ("OfflineThreshold", ""),
    ]
    for name, instance in read:
        assert float(variables.value("OCPPCommCtrlr", name, instance)) > 0
