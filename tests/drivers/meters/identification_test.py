"""Who charges, as OCMF and the meters' registers say it."""

import pytest

from drivers.contract import Payer
from drivers.meters.identification import em580_registers, identification, ocmf_fields

NOBODY = {"IS": False, "IF": [], "IT": "NONE", "ID": ""}
NOT_NAMED = ((0,), (0,), (0,) * 4, (0,), (0,) * 20)


@pytest.mark.parametrize(
    ("payer", "fields"),
    [
        (None, NOBODY),
        (Payer("", "ISO14443"), NOBODY),
        (Payer("1234", "KeyCode"), NOBODY),
        (Payer("", "NoAuthorization"), NOBODY),
        (
            Payer("04A1B2C3", "ISO14443"),
            {"IS": True, "IF": ["RFID_PLAIN"], "IT": "ISO14443", "ID": "04A1B2C3"},
        ),
        (
            Payer("E007000012345678", "ISO15693"),
            {"IS": True, "IF": ["RFID_PLAIN"], "IT": "ISO15693", "ID": "E007000012345678"},
        ),
        (Payer("DE8ACC1", "eMAID"), NOBODY | {"IS": True, "IT": "EMAID", "ID": "DE8ACC1"}),
        (Payer("app-4711", "Central"), NOBODY | {"IS": True, "IT": "CENTRAL", "ID": "app-4711"}),
        (Payer("key fob", "Local"), NOBODY | {"IS": True, "IT": "LOCAL", "ID": "key fob"}),
        (Payer("0123AB", "MacAddress"), NOBODY | {"IS": True, "IT": "EVCCID", "ID": "0123AB"}),
    ],
)
def test_a_token_is_named_whole_or_not_at_all(payer: Payer | None, fields: dict) -> None:
    assert ocmf_fields(identification(payer)) == fields


def test_registers_of_an_em580_hold_a_card() -> None:
    status, level, flags, kind, data = em580_registers(identification(Payer("04A1", "ISO14443")))
    assert (status, level, flags, kind) == ((1,), (1,), (1, 0, 0, 0), (10,))
    assert data == (0x3034, 0x4131, *[0] * 18)


@pytest.mark.parametrize(
    ("token", "kind", "number"),
    [
        ("ISO15693", 11, 1),
        ("eMAID", 20, 0),
        ("MacAddress", 21, 0),
        ("Central", 60, 0),
        ("Local", 70, 0),
    ],
)
def test_registers_of_an_em580_know_each_kind(token: str, kind: int, number: int) -> None:
    told = em580_registers(identification(Payer("A" * 39, token)))
    assert (told[3], told[2][0]) == ((kind,), number)
    assert told[4] == (*[0x4141] * 19, 0x4100)


@pytest.mark.parametrize("number", ["A" * 40, "4711@x", "a_b", "a|b", "kö", ""])
def test_what_an_em580_cannot_hold_names_nobody(number: str) -> None:
    assert em580_registers(identification(Payer(number, "Central"))) == NOT_NAMED
    assert em580_registers(identification(None)) == NOT_NAMED
