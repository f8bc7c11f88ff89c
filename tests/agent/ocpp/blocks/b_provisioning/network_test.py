"""SetNetworkProfile (B09), and the priority of what it set (B10)."""

from typing import Any

import pytest

from agent.ocpp.dialling import Slot
from agent.ocpp.network import Network
from tests.agent.ocpp.blocks.b_provisioning.provisioning_bench import COMM, call, set_one, view_of

# --- SetNetworkProfile ----------------------------------------------------------------------------

PROFILE = {
    "ocppVersion": "OCPP20",
    "ocppTransport": "JSON",
    "ocppCsmsUrl": "wss://other.example.com:8443/ocpp",
    "messageTimeout": 20,
    "securityProfile": 2,
    "ocppInterface": "Wired0",
}
VPN = {"server": "s", "user": "u", "password": "p", "key": "k", "type": "IKEv2"}


@pytest.mark.parametrize(
    ("slot", "change", "reason"),
    [
        (999, {}, "InvalidConfSlot"),
        (0, {}, "InvalidConfSlot"),
        (2, {}, "InvalidConfSlot"),
        (3, {"securityProfile": 1, "ocppCsmsUrl": "ws://a/b"}, "NoSecurityDowngrade"),
        (3, {"securityProfile": 4}, "InvalidNetworkConf"),
        (3, {"ocppVersion": "OCPP16"}, "InvalidNetworkConf"),
        (3, {"ocppTransport": "SOAP"}, "InvalidNetworkConf"),
        (3, {"messageTimeout": 0}, "InvalidNetworkConf"),
        (3, {"messageTimeout": 601}, "InvalidNetworkConf"),
        (3, {"vpn": VPN}, "InvalidNetworkConf"),
        (3, {"ocppCsmsUrl": "ws://other.example.com/ocpp"}, "InvalidNetworkConf"),
        (3, {"ocppCsmsUrl": "wss:///ocpp"}, "InvalidNetworkConf"),
        (3, {"ocppCsmsUrl": "wss://a:99999/ocpp"}, "InvalidNetworkConf"),
        (3, {"ocppCsmsUrl": "wss://u:p@a/ocpp"}, "InvalidNetworkConf"),
        (3, {"ocppCsmsUrl": "wss://a/b c"}, "InvalidNetworkConf"),
        (3, {"ocppCsmsUrl": ""}, "InvalidNetworkConf"),
    ],
)
def test_a_network_profile_that_cannot_work_is_rejected(
    slot: int, change: dict[str, Any], reason: str
) -> None:
    """B09.FR.02, FR.04, FR.05; slot 2 is in use."""
    answer = call(
        "SetNetworkProfile",
        {"configurationSlot": slot, "connectionData": PROFILE | change},
        view_of(),
    )
    assert answer.payload["status"] == "Rejected"
    assert answer.payload["statusInfo"]["reasonCode"] == reason
    assert not answer.effects
    assert not answer.events


def test_a_network_profile_is_saved_and_may_then_be_preferred() -> None:
    view = view_of()
    slot = Slot("wss://a/CP1", "CP1", 2)
    view.network = Network("CP1", (slot,), {})
    priority = {"component": COMM, "variable": {"name": "NetworkConfigurationPriority"}}
    assert set_one(view, "3,1", **priority)["attributeStatus"] == "Rejected"
    answer = call("SetNetworkProfile", {"configurationSlot": 3, "connectionData": PROFILE}, view)
    assert answer.payload == {"status": "Accepted"}
    assert set_one(view, "3,1", **priority)["attributeStatus"] == "RebootRequired"
    (save,) = answer.effects
    again = Network("CP1", (slot,), {save.key: save.value})
    assert again.slots("3,1") == (
        Slot("wss://other.example.com:8443/ocpp/CP1", "CP1", 2, 3, 20.0),
        slot,
    )


@pytest.mark.parametrize("order", ["1,2", "2,1", "2"])
def test_a_less_secure_slot_cannot_be_preferred_before_the_boot_was_accepted_either(
    order: str,
) -> None:
    """A05.FR.10."""
    view = view_of()
    view.network = Network("CP1", (Slot("wss://a/x", "CP1", 2), Slot("ws://a/x", "CP1", 1, 2)), {})
    priority = {"component": COMM, "variable": {"name": "NetworkConfigurationPriority"}}
    assert set_one(view, order, **priority)["attributeStatus"] == "Rejected"
    assert set_one(view, "1", **priority)["attributeStatus"] == "RebootRequired"
