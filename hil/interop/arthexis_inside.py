"""Runs in arthexis' own environment, on its own models: prepare, stop, dump."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

PROTOCOL = "ocpp2.0.1"


def prepare(identity: str, password: str) -> None:
    """An empty database, and the station in it as an administrator would enter it."""
    from apps.ocpp.models import Charger, StationModel
    from django.contrib.auth.hashers import make_password
    from django.core.management import call_command
    from django.utils import timezone

    call_command("migrate", "--noinput", verbosity=0)
    call_command("seed", verbosity=0)
    model = StationModel.objects.create(
        vendor="Chargepoint", model="Desk bench", preferred_protocol=PROTOCOL
    )
    Charger.objects.create(
        identity=identity,
        connection_token_hash=make_password(password),
        station_model=model,
        enrolled_at=timezone.now(),
        authority_cutover_at=timezone.now(),
    )


def stop(identity: str, transaction_id: str) -> None:
    """A remote stop as its administrator orders one."""
    from apps.ocpp.models import Charger

    charger = Charger.objects.select_related("station_model").get(identity=identity)
    operation = asyncio.run(Charger.stop(charger, transaction=transaction_id))
    print(json.dumps({"operation": operation.pk}))


def operation(number: str) -> None:
    """What came of an order."""
    from apps.ocpp.models import ProtocolOperation

    row = ProtocolOperation.objects.get(pk=int(number))
    print(json.dumps({"status": row.status, "response": row.response_payload}))


def dump(identity: str) -> None:
    """The station's messages and transactions as they stand in the database."""
    from apps.ocpp.models import InboundProtocolRequest, OcppTransaction

    requests = InboundProtocolRequest.objects.filter(charger__identity=identity).order_by("pk")
    found: dict[str, Any] = {"events": [], "refused": [], "transactions": {}}
    for row in requests:
        if row.response_kind != "result":
            found["refused"].append(f"{row.action}: {row.error_code} {row.error_description}")
        elif row.action == "TransactionEvent":
            found["events"].append(row.request_payload)
    for row in OcppTransaction.objects.filter(charger__identity=identity):
        found["transactions"][row.remote_id] = row.recovery_state
    print(json.dumps(found))


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "arthexis.settings"
    import django

    django.setup()
    orders: dict[str, Callable[..., None]] = {
        "prepare": prepare,
        "stop": stop,
        "operation": operation,
        "dump": dump,
    }
    orders[sys.argv[1]](*sys.argv[2:])
