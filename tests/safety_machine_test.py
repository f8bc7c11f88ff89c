"""What must hold in every step of a random day, and that the judge notices when it does not."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from agent.batches import standing_orders
from agent.core.caps import Caps
from agent.core.connector import Connector
from agent.core.effects import Save
from agent.core.ending import end_transaction
from agent.core.events import OrderRefused
from agent.core.evse import Evse
from agent.core.evse_facts import EvseFacts
from agent.core.latches import Latches
from agent.core.limits import Ceiling, Demand, _Lane
from agent.core.local_limit import LocalLimits
from agent.core.metering import Metering
from agent.core.orders import Orders
from agent.core.station import _HANDLERS
from agent.core.transaction import Transaction
from agent.guard import Guard, Guarded
from agent.runtime import Runtime
from drivers.contract import MeterReading
from tests.safety_machine import STEPS, STEPS_A_DAY, play
from tests.safety_machine_more import More
from tests.safety_machine_rig import Rig

STEPS_AT_ONCE = 10_000
"""Hypothesis remembers every one of a run."""
SEEDED_DAYS = 150
SEARCHES = 12
"""Within so many searches of so many days a seeded fault must be noticed; most are in the first."""


@pytest.mark.timeout(0)
def test_power_flows_only_while_everything_says_so() -> None:
    is_long = STEPS > 10_000
    done = 0
    while done < STEPS:
        days = 1 + min(STEPS - done, STEPS_AT_ONCE) // STEPS_A_DAY
        done += play(days, derandomize=not is_long).steps
        if is_long:
            print(f"{done} of {STEPS} steps, nothing wrong", flush=True)
    assert done >= STEPS


# --- each promise, broken on purpose ------------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]


def no_state(patch: pytest.MonkeyPatch) -> None:
    """The guard does not read the pilot's letter; so it voids no permit by it either, which the
    judge would say first."""

    def only_faults(reading: Any) -> str | None:
        return "fault" if reading.faults else None

    patch.setattr("agent.guard._pilot_trouble", only_faults)
    patch.setattr(Rig, "forgives", "permit")


def no_faults(patch: pytest.MonkeyPatch) -> None:
    """The guard does not read the controller's faults."""

    def only_states(reading: Any) -> str | None:
        return None if reading.state in ("B", "C") else "state"

    patch.setattr("agent.guard._pilot_trouble", only_states)
    patch.setattr(Rig, "forgives", "permit")


def no_authorisation(patch: pytest.MonkeyPatch) -> None:
    """The core energises whoever has a session, though the card was refused."""
    patch.setattr("agent.core.events.TokenInfo.accepted", property(lambda info: True))


def no_authorisation_any_more(patch: pytest.MonkeyPatch) -> None:
    """The core goes on although the authorisation ended."""

    def wants_power(evse: EvseFacts) -> Connector | None:
        active, transaction = evse.active, evse.transaction
        if transaction is None or evse.ending is not None or transaction.begin is None:
            return None
        usable = active is not None and active.energisable and not active.faults
        return active if usable and active is not None and active.is_secured else None

    patch.setattr(EvseFacts, "wants_power", wants_power)


def no_age_of_the_pilot(patch: pytest.MonkeyPatch) -> None:
    """The guard takes an old view for a good one."""
    begin = Guarded.__init__

    def ageless(guarded: Guarded, *arguments: Any) -> None:
        begin(guarded, *arguments)
        guarded.pilot_age_s = 1e9

    patch.setattr(Guarded, "__init__", ageless)


def no_age_of_the_meter(patch: pytest.MonkeyPatch) -> None:
    begin = Guarded.__init__

    def ageless(guarded: Guarded, *arguments: Any) -> None:
        begin(guarded, *arguments)
        guarded.meter_age_s = 1e9

    patch.setattr(Guarded, "__init__", ageless)


def no_input(patch: pytest.MonkeyPatch) -> None:
    """The guard does not hear of the board's inputs, only the core does."""
    patch.setattr(Guard, "see_input", lambda guard, *what: None)
    patch.setattr(Rig, "forgives", "permit")


def no_permit(patch: pytest.MonkeyPatch) -> None:
    """A stop voids no order that still waits for the disk."""
    patch.setattr(Guard, "_void", lambda guard, guarded: None)


def no_permit_voided_in_time(patch: pytest.MonkeyPatch) -> None:
    """What the device reports while the guard stops it still gives a permit."""

    def early(guard: Guard, place: Any, cause: str, *, emergency: bool) -> None:
        guard._void(guard._places[place])
        guard.stop(place, emergency=emergency)
        guard._on_stop(place, cause)

    patch.setattr(Guard, "_stop", early)


def no_ear_for_refusals(patch: pytest.MonkeyPatch) -> None:
    """The core goes on believing that power is allowed."""
    silent = {OrderRefused: lambda station, event, now: []}
    patch.setattr("agent.core.station._HANDLERS", {**_HANDLERS, **silent})


def no_cable(patch: pytest.MonkeyPatch) -> None:
    ceiling = Orders.ceiling

    def thick(orders: Orders, connector: Connector) -> Ceiling:
        found = ceiling(orders, connector)
        return Ceiling(found.controller_a, found.connector_a, None, found.min_a)

    patch.setattr(Orders, "ceiling", thick)


def no_hardware(patch: pytest.MonkeyPatch) -> None:
    ceiling = Orders.ceiling

    def strong(orders: Orders, connector: Connector) -> Ceiling:
        found = ceiling(orders, connector)
        return Ceiling(63.0, found.connector_a, found.cable_a, found.min_a)

    patch.setattr(Orders, "ceiling", strong)


def no_file(patch: pytest.MonkeyPatch) -> None:
    ceiling = Orders.ceiling

    def strong(orders: Orders, connector: Connector) -> Ceiling:
        found = ceiling(orders, connector)
        return Ceiling(found.controller_a, 63.0, found.cable_a, found.min_a)

    patch.setattr(Orders, "ceiling", strong)


def no_profile(patch: pytest.MonkeyPatch) -> None:
    demands = Orders._demands

    def unlimited(orders: Orders, evses: Any, limits: Any, now: Any) -> dict[Any, Demand]:
        return demands(orders, evses, {}, now)

    patch.setattr(Orders, "_demands", unlimited)


def no_local_limit(patch: pytest.MonkeyPatch) -> None:
    """What the energy manager says of one EVSE is not obeyed."""
    in_force = LocalLimits.in_force

    def of_all(local: LocalLimits, now_s: float) -> dict[int, float]:
        return {key: limit_a for key, limit_a in in_force(local, now_s).items() if key == 0}

    patch.setattr(LocalLimits, "in_force", of_all)


def no_silence(patch: pytest.MonkeyPatch) -> None:
    """An energy manager that says nothing is not noticed."""
    patch.setattr(LocalLimits, "silent_from_s", property(lambda local: 1e9))


def no_supply(patch: pytest.MonkeyPatch) -> None:
    begin = Orders.__init__

    def endless(orders: Orders, site: Any) -> None:
        begin(orders, site)
        orders._supply_a = 1000.0

    patch.setattr(Orders, "__init__", endless)


def no_lock(patch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the lock, or looks at it again."""
    patch.setattr(Connector, "is_secured", property(lambda connector: True))
    no_ear_for_the_lock(patch)


def no_row(patch: pytest.MonkeyPatch) -> None:
    """Power first, then the disk."""
    perform = Runtime.perform

    async def hasty(runtime: Runtime, effects: list[object]) -> None:
        for order in standing_orders(effects):
            runtime._energise(order)
        await perform(runtime, effects)

    patch.setattr(Runtime, "perform", hasty)


def no_latch(patch: pytest.MonkeyPatch) -> None:
    """A welded contactor is forgotten when it is seen open."""
    patch.setattr(Latches, "follow", lambda latches: [])
    patch.setattr(Rig, "forgives", "reclosed")


def no_memory(patch: pytest.MonkeyPatch) -> None:
    """A welded contactor is forgotten when the process restarts."""
    patch.setattr(Latches, "_save", lambda latches: Save("elsewhere", "1"))
    patch.setattr(Rig, "forgives", "reclosed")


def no_end_of_service(patch: pytest.MonkeyPatch) -> None:
    """The technician was there, and it stays out of order."""
    patch.setattr(Latches, "clear", lambda latches, connector: [])


def no_memory_of_a_trip(patch: pytest.MonkeyPatch) -> None:
    """A residual current is forgotten when the process restarts."""
    no_memory(patch)
    patch.setattr(Rig, "forgives", "welded")


def no_rest_after_a_trip(patch: pytest.MonkeyPatch) -> None:
    """A plugged EV gets another charge by itself, where no card is needed."""
    always = property(lambda connector: False, lambda connector, over: None)
    patch.setattr(Connector, "session_over", always, raising=False)
    free_power(patch)


def no_rest_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    """The same, once the process has begun anew."""
    patch.setattr(Latches, "_names_of_tripped", lambda latches: ())
    free_power(patch)


def free_power(patch: pytest.MonkeyPatch) -> None:
    """Nobody needs a card, and nobody has to look after a trip."""
    begin = Rig.__init__

    def free(rig: Rig, *, policy: Any, safety: Any, **rest: Any) -> None:
        policy = replace(policy, auth_enabled=False)
        begin(rig, policy=policy, safety=replace(safety, rcd_needs_service=False), **rest)

    patch.setattr(Rig, "__init__", free)


def no_service_after_a_trip(patch: pytest.MonkeyPatch) -> None:
    """Nobody has to look, though charger.yaml says so."""
    patch.setattr("agent.core.latches.AFTER_RCD", frozenset())


def no_pace(patch: pytest.MonkeyPatch) -> None:
    """An offer is raised as soon as there is more."""
    patch.setattr("agent.core.limits.SETTLE_S", 0.0)
    patch.setattr("agent.core.orders.SETTLE_S", 0.0)


def no_failsafe(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Caps, "failsafe_a", lambda caps, now: None)


def no_heat(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Caps, "derated_a", lambda caps, limit_a, temperature_c, is_hot: limit_a)


def no_delay(patch: pytest.MonkeyPatch) -> None:
    """All charge at once when the mains return."""
    patch.setattr(Caps, "mains_are_young", lambda caps, evse_id, now: False)


def no_account(patch: pytest.MonkeyPatch) -> None:
    """What an EV that was told to stop still draws is given to another one."""
    patch.setattr("agent.core.orders._unconfirmed_a", lambda connector, evse: 0.0)
    patch.setattr(_Lane, "drawn_a", lambda lane, now_s: lane.offered_a)


def no_ear_for_the_lock(patch: pytest.MonkeyPatch) -> None:
    """The guard does not hear of the lock; the core may be waiting for the disk."""
    patch.setattr(Guard, "see_lock", lambda guard, place, locked: None)


def no_end(patch: pytest.MonkeyPatch) -> None:
    """The last event of a transaction gets lost."""

    def end(*arguments: Any) -> list[object]:
        effects = end_transaction(*arguments)
        return [e for e in effects if getattr(e, "event_type", "") != "Ended"]

    patch.setattr("agent.core.evse_ending.end_transaction", end)


def no_unplugging(patch: pytest.MonkeyPatch) -> None:
    """An EV that left ends nothing."""
    patch.setattr(Evse, "_unplugged", lambda evse, connector, now, policy: None)


def no_number(patch: pytest.MonkeyPatch) -> None:
    """The number of the next event is not kept over a restart."""
    save = Transaction.save

    def forgetful(transaction: Transaction, now: Any) -> Save:
        next_seq_no, transaction.next_seq_no = transaction.next_seq_no, 1
        try:
            return save(transaction, now)
        finally:
            transaction.next_seq_no = next_seq_no

    patch.setattr(Transaction, "save", forgetful)


def no_fresh_begin(patch: pytest.MonkeyPatch) -> None:
    """The begin value of a charge is the first thing the meter ever said."""
    take = Metering.take

    def remember(metering: Metering, reading: MeterReading) -> None:
        take(metering, reading)
        vars(metering).setdefault("first", reading)

    def first(evse: Evse, *of: Any) -> MeterReading | None:
        found = vars(evse.metering).get("first")
        return replace(found, at_s=evse.metering.last.at_s) if found is not None else None

    patch.setattr(Metering, "take", remember)
    patch.setattr(Evse, "_begin_reading", first)


SEEDED: dict[str, tuple[str, Patch]] = {
    "C or D": ("state", no_state),
    "authorised": ("authorised", no_authorisation),
    "still authorised": ("authorised", no_authorisation_any_more),
    "a fresh pilot": ("fresh", no_age_of_the_pilot),
    "a fresh meter": ("fresh", no_age_of_the_meter),
    "no blocking fault": ("fault", no_faults),
    "no blocking input": ("fault", no_input),
    "a valid permit": ("permit", no_permit),
    "a permit of before the stop": ("permit", no_permit_voided_in_time),
    "one order everywhere": ("permit", no_ear_for_refusals),
    "the cable's rating": ("limit", no_cable),
    "the controller's rating": ("limit", no_hardware),
    "the file's rating": ("limit", no_file),
    "the profile": ("limit", no_profile),
    "the local limit": ("limit", no_local_limit),
    "the local fail-safe": ("limit", no_silence),
    "the supply": ("limit", no_supply),
    "a locked plug": ("lock", no_lock),
    "a session row first": ("row", no_row),
    "service after welding": ("welded", no_latch),
    "service after welding and a restart": ("welded", no_memory),
    "no reclosing by itself": ("reclosed", no_rest_after_a_trip),
    "no reclosing by itself, after a restart": ("reclosed", no_rest_after_a_restart),
    "no reclosing before service": ("reclosed", no_service_after_a_trip),
    "no reclosing before service, after a restart": ("reclosed", no_memory_of_a_trip),
    "one change in five seconds": ("pace", no_pace),
    "the failsafe current": ("limit", no_failsafe),
    "a cool controller": ("limit", no_heat),
    "load comes back by and by": ("mains", no_delay),
    "what still flows": ("supply", no_account),
    "a lock that opens": ("lock", no_ear_for_the_lock),
    "an EV is served after service": ("served", no_end_of_service),
    "every end is told": ("ledger", no_end),
    "every transaction ends": ("ledger", no_unplugging),
    "numbers without a gap": ("ledger", no_number),
    "nothing is sold twice": ("energy", no_fresh_begin),
}


def search() -> None:
    for number in range(SEARCHES):
        play(SEEDED_DAYS, number=number)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("promise", SEEDED)
def test_a_station_that_breaks_a_promise_is_noticed(
    promise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    word, seed = SEEDED[promise]
    seed(monkeypatch)
    if word != "served":
        monkeypatch.setattr(More, "everybody_is_served", lambda day: None)
    with pytest.raises(AssertionError, match=f"{word}:"):
        search()
