"""Block B as the router drives it: requests and answers checked against the schemas."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import ocpp
from jsonschema import Draft6Validator

from agent.core.events import Now
from agent.ocpp.block import Answer
from agent.ocpp.blocks import a_security, b_provisioning
from agent.ocpp.certificates import Certificates
from agent.ocpp.device_model import DeviceModel, Variable
from agent.ocpp.station_certificate import StationCertificate
from agent.ocpp.turns import Turns
from agent.ocpp.view import Facts, Plug

SCHEMAS = Path(ocpp.__file__).parent / "v201" / "schemas"
NOW = Now(100.0, 1_700_000_000.0, True, "b", 0, lambda: 0.5, lambda: "id")  # type: ignore[arg-type]
AUTH = Variable("AuthCtrlr", "LocalAuthorizeOffline", "boolean", policy="local_authorize_offline")
COMM = {"name": "OCPPCommCtrlr"}
THRESHOLD = {"component": COMM, "variable": {"name": "OfflineThreshold"}}


class Connectors:
    """The part of the core that block B looks at."""

    def __init__(self, statuses: dict[tuple[int, int], str]) -> None:
        self.statuses = statuses
        self.site = SimpleNamespace(phases=3)
        self.connector = SimpleNamespace(faults=frozenset(), lock_failed=False)
        metering = SimpleNamespace(last=None)
        self.evses = {1: SimpleNamespace(connectors={1: self.connector}, metering=metering)}
        self.evse_ids = tuple(dict.fromkeys(evse_id for evse_id, _ in statuses))

    def connector_ids(self, evse_id: int) -> tuple[int, ...]:
        return tuple(connector for evse, connector in self.statuses if evse == evse_id)

    def status(self, place: tuple[int, int]) -> str:
        return self.statuses[place]

    def hardware_limit_a(self, evse_id: int) -> float:
        return 32.0


def view_of(*extra: Variable, statuses: Iterable[str] = ("Available",)) -> Any:
    slots = tuple(
        SimpleNamespace(security_profile=profile, number=number, message_timeout_s=None)
        for number, profile in ((1, 2), (2, 2))
    )
    return SimpleNamespace(
        variables=DeviceModel(
            (*b_provisioning.VARIABLES, *a_security.VARIABLES, AUTH, *extra), ((1, (1,)),), {}
        ),
        station=Connectors({(n, 1): status for n, status in enumerate(statuses, 1)}),
        connection=SimpleNamespace(slots=slots, slot=1, turns=Turns()),
        network=SimpleNamespace(numbers=(1, 2), security_profile=lambda number: 2),
        certificates=Certificates({}),
        station_certificate=StationCertificate({}),
        facts=Facts("CP1", "Maker", "Box", plugs={(1, 1): Plug("cType2", 3)}),
    )


@cache
def schema(name: str) -> Draft6Validator:
    return Draft6Validator(msgspec.json.decode((SCHEMAS / f"{name}.json").read_bytes()))


def call(action: str, payload: dict[str, Any], view: Any) -> Answer:
    """What the router does with a CALL: schemas, handler, then the events."""
    schema(f"{action}Request").validate(payload)
    answer = b_provisioning.INCOMING[action](payload, view, NOW)
    schema(f"{action}Response").validate(answer.payload)
    for event in answer.events:
        take = b_provisioning.ON_EVENT.get(type(event))
        if take is not None:
            take(event, view, NOW)
    return answer


def set_one(view: Any, value: str, **item: Any) -> dict[str, Any]:
    answer = call(
        "SetVariables",
        {"setVariableData": [THRESHOLD | {"attributeValue": value} | item]},
        view,
    )
    (result,) = answer.payload["setVariableResult"]
    return dict(result)


def get_one(view: Any, component: str, variable: str, **item: Any) -> dict[str, Any]:
    pair = {"component": {"name": component}, "variable": {"name": variable}}
    answer = call("GetVariables", {"getVariableData": [pair | item]}, view)
    (result,) = answer.payload["getVariableResult"]
    return dict(result)
