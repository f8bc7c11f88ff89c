"""Network profiles over restarts, and against the technician's file."""

import json

import pytest

from agent.core.effects import Save
from agent.ocpp.dialling import Slot
from agent.ocpp.network import (
    FILE_KEY,
    FLOOR_KEY,
    PRIORITY_KEY,
    Network,
    NetworkProfile,
    connection_url,
    save_profile,
)

FILE = (Slot("wss://a/CP", "CP", 2, 1), Slot("wss://b/CP", "CP", 2, 2, credential=1))
OTHER_FILE = (Slot("wss://c/CP", "CP", 2, 1),)
PROFILE = NetworkProfile("wss://x/ocpp/", 2, 15)


def saved_after(file_slots: tuple[Slot, ...]) -> dict[str, str]:
    """What is kept once the CSMS has set slots 2 and 5."""
    saves = [*Network("CP", file_slots, {}).first_saves]
    saves += [save_profile(2, PROFILE), save_profile(5, PROFILE), Save(PRIORITY_KEY, '"5,1"')]
    return {save.key: save.value for save in saves if save.value is not None}


@pytest.mark.parametrize(
    ("written", "dialled"),
    [
        ("wss://a/ocpp", "wss://a/ocpp/CP%201"),
        ("wss://a/ocpp/", "wss://a/ocpp/CP%201"),
        ("wss://a", "wss://a/CP%201"),
        ("wss://a/ocpp/{identity}/", "wss://a/ocpp/CP%201/"),
        ("wss://a/{identity}/ocpp", "wss://a/CP%201/ocpp"),
    ],
)
def test_the_identity_stands_where_the_url_says_or_at_its_end(written: str, dialled: str) -> None:
    assert connection_url(written, "CP 1") == dialled


def test_slots_come_in_the_order_of_the_priority() -> None:
    network = Network("CP", FILE, saved_after(FILE))
    assert network.numbers == (1, 2, 5)
    assert network.slots("5,1") == (Slot("wss://x/ocpp/CP", "CP", 2, 5, 15.0), FILE[0])
    assert network.slots("2")[0].url == "wss://x/ocpp/CP"


def test_without_a_priority_or_with_none_that_exists_the_file_counts() -> None:
    network = Network("CP", FILE, {})
    assert network.slots("") == FILE
    assert network.slots("7,8") == FILE
    assert network.slots("7,2") == FILE[1:]


def test_new_addresses_in_the_file_drop_what_the_csms_had_set() -> None:
    saved = saved_after(FILE)
    network = Network("CP", OTHER_FILE, saved)
    assert network.numbers == (1,)
    assert network.dropped == {"network/2", "network/5", PRIORITY_KEY}
    assert {save.key for save in network.first_saves if save.value is None} == network.dropped
    assert len(network.warnings) == 1
    kept = {k: v for k, v in saved.items() if k not in network.dropped}
    kept[FILE_KEY] = json.dumps(["wss://c/CP"], separators=(",", ":"))
    again = Network("CP", OTHER_FILE, kept)
    assert (again.first_saves, again.warnings) == ((), [])


def test_a_profile_that_cannot_be_read_is_not_used_and_named() -> None:
    saved = saved_after(FILE) | {"network/5": "{"}
    network = Network("CP", FILE, saved)
    assert network.numbers == (1, 2)
    assert "slot 5" in network.warnings[0]


PLAIN_FILE = (Slot("ws://a/CP", "CP", 1, 1), Slot("wss://b/CP", "CP", 2, 2, credential=1))


@pytest.mark.parametrize("priority", ["", "5", "1,5"])
def test_lost_slots_do_not_lower_the_security_profile(priority: str) -> None:
    """A05.FR.06: the file's addresses are what is left; how they are dialled is not theirs."""
    saved = saved_after(PLAIN_FILE) | {FLOOR_KEY: "3", "network/5": "{"}
    del saved["network/2"]
    network = Network("CP", PLAIN_FILE, saved)
    assert [(s.url, s.security_profile) for s in network.slots(priority)] == [
        ("ws://a/CP", 3),
        ("wss://b/CP", 3),
    ][: 1 if priority == "1,5" else 2]
    assert network.numbers == (1, 2)
    assert network.security_profile(1) == 3
    assert "security profile 3 are lost" in network.warnings[-1]


def test_another_address_in_the_file_is_the_way_down() -> None:
    saved = saved_after(PLAIN_FILE) | {FLOOR_KEY: "3"}
    del saved["network/2"], saved["network/5"]
    network = Network("CP", OTHER_FILE, saved)
    assert network.slots("") == OTHER_FILE
    assert network.floor == 1
