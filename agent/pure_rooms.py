"""The pure rooms as they stand at a start: made of charger.yaml and of what the store has kept."""

import logging
from collections.abc import Iterable, Mapping

from agent.core.effects import Save
from agent.core.station import Station
from agent.credentials import certificates_of_file
from agent.devices import DeviceBook
from agent.file_facts import facts_of_station, slots_of
from agent.jobs.certificates import facts_of
from agent.ocpp.certificates import Certificates
from agent.ocpp.charging.profiles import ChargingProfiles
from agent.ocpp.connection import Connection
from agent.ocpp.device_model import DeviceModel
from agent.ocpp.firmware import Firmware
from agent.ocpp.network import Network
from agent.ocpp.passwords import Passwords
from agent.ocpp.station_certificate import StationCertificate
from agent.ocpp.view import View
from agent.settings import Settings
from agent.store.db import Store
from agent.wiring import Wiring, declared, places_of, site_of

log = logging.getLogger(__name__)


def pure_rooms(
    settings: Settings, wiring: Wiring, store: Store, book: DeviceBook
) -> tuple[View, list[Save]]:
    """What handlers look at, and what must last of the technician's certificate files before
    anything else does."""
    network = Network(settings.station.identity, slots_of(settings), store.saved)
    saved = {k: v for k, v in store.saved.items() if k not in network.dropped}
    first_saves = [*certificates_of_file(settings.security, saved, facts_of)]
    saved = _after(saved, first_saves)
    certificates = Certificates(saved, is_strict=settings.security.additional_root_check)
    station_certificate = StationCertificate(saved)
    known = declared(settings, wiring, book)
    variables = DeviceModel(known, places_of(settings), saved, settings.ocpp.variables)
    station = Station(site_of(settings, wiring), variables.policy(), saved)
    priority = variables.value("OCPPCommCtrlr", "NetworkConfigurationPriority")
    connection = Connection(network.slots(priority), variables.value, saved)
    view = View(
        station,
        variables,
        connection,
        ChargingProfiles(station.evse_ids, settings.supply.voltage_v, saved),
        facts_of_station(settings),
        lambda: store.counts().set_aside,
        network=network,
        passwords=Passwords(store.saved),
        firmware=_firmware(settings, store),
        cache_bytes=lambda: store.counts().token_bytes,
        certificates=certificates,
        station_certificate=station_certificate,
        counters=book.counters,
    )
    for room in (network, variables, certificates, station_certificate):
        for warning in room.warnings:
            log.warning("%s", warning)
    return view, first_saves


def _after(saved: Mapping[str, str], saves: Iterable[Save]) -> dict[str, str]:
    """The state table with those saves done."""
    known = dict(saved) | {save.key: save.value for save in saves}
    return {key: value for key, value in known.items() if value is not None}


def _firmware(settings: Settings, store: Store) -> Firmware:
    options = settings.firmware
    return Firmware(
        store.saved,
        is_possible=options is not None,
        takes_unsigned=options is not None and options.unsigned,
    )
