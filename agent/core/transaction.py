"""One transaction: what is told about it, numbered without gaps, and what must outlive a crash."""

import msgspec
from msgspec import Struct

from agent.core.effects import MeterSample, Record, Save
from agent.core.events import IdToken, Now
from drivers.contract import MeterReading

SAMPLES_AT_MOST = 100


class Transaction(Struct):
    """State of a transaction; saved whole with every record, so seqNo never repeats (E01.FR.07)."""

    transaction_id: str
    evse_id: int
    """0: not known yet (E03)."""
    boot_id: str
    utc_offset_s: float
    """Offset in force when this was saved: turns saved loop times into UTC after a reboot."""
    connector_id: int | None = None
    next_seq_no: int = 0
    started: bool = False
    """The Started event was recorded; before that only a session row covers the power."""
    token: IdToken | None = None
    group: IdToken | None = None
    remote_start_id: int | None = None
    begin: MeterReading | None = None
    last: MeterReading | None = None
    """Latest recorded reading: the end value when the meter cannot be read any more."""
    charging_state: str = "Idle"
    stopped_reason: str | None = None
    """Set when the authorisation ended but TxStopPoint keeps the transaction open."""
    phases: int | None = None
    samples: tuple[MeterSample, ...] = ()
    """Taken on the way, told with the end."""
    told_token: IdToken | None = None
    told_place: bool = False
    told_remote_start: bool = False
    told_begin: bool = False

    @property
    def key(self) -> str:
        """One row per EVSE; several may run without one."""
        return f"transaction/{self.evse_id or self.transaction_id}"

    def save(self, now: Now) -> Save:
        self.utc_offset_s = now.utc_offset_s
        self.boot_id = now.boot_id
        return Save(self.key, msgspec.json.encode(self).decode())

    def forget(self) -> Save:
        return Save(self.key, None)

    def keep(self, sample: MeterSample) -> None:
        """For the Ended event; when it becomes too much, every second one goes (J02.FR.20)."""
        self.samples = (*self.samples, sample)
        if len(self.samples) > SAMPLES_AT_MOST:
            self.samples = self.samples[::2]
        self._saw(sample.reading)

    def _saw(self, reading: MeterReading) -> None:
        """A signed value comes after plain ones that are younger: what was told is not taken
        back."""
        if self.last is None or reading.energy_wh >= self.last.energy_wh:
            self.last = reading

    def record(
        self,
        event_type: str,
        trigger_reason: str,
        now: Now,
        *,
        samples: tuple[MeterSample, ...] = (),
        stopped_reason: str | None = None,
        token: IdToken | None = None,
    ) -> Record:
        """Makes the next event; token, place and remoteStartId are told once (E01.FR.10, FR.16)."""
        tell_token = token or (self.token if not self._token_told() else None)
        if self.token is not None and self.token.same_as(tell_token):
            self.told_token = tell_token
        tell_remote = self.remote_start_id if not self.told_remote_start else None
        self.told_remote_start = self.told_remote_start or tell_remote is not None
        is_asked = trigger_reason == "Trigger"  # whoever asks is told where, each time
        tell_place = self.connector_id is not None and (is_asked or not self.told_place)
        self.told_place = self.told_place or tell_place
        for sample in samples:
            self._saw(sample.reading)
            self.told_begin = self.told_begin or sample.context == "Transaction.Begin"
        record = Record(
            event_type=event_type,
            trigger_reason=trigger_reason,
            transaction_id=self.transaction_id,
            seq_no=self.next_seq_no,
            at_s=now.at_s,
            evse_id=self.evse_id,
            connector_id=self.connector_id if tell_place else None,
            known_connector_id=self.connector_id,
            charging_state=self.charging_state,
            stopped_reason=stopped_reason,
            remote_start_id=tell_remote,
            token=tell_token,
            samples=samples,
            phases_used=self.phases,
            is_begin_signed=self.begin is not None and self.begin.signature is not None,
        )
        self.next_seq_no += 1
        return record

    def _token_told(self) -> bool:
        return self.token is None or self.token.same_as(self.told_token)


def restore(text: str, now: Now) -> Transaction:
    """A saved transaction, its times moved to this boot's clock; ValueError when unreadable."""
    try:
        transaction = msgspec.json.decode(text, type=Transaction)
    except msgspec.MsgspecError as exc:
        raise ValueError(f"saved transaction cannot be read: {exc}") from exc
    if transaction.boot_id != now.boot_id:
        shift_s = transaction.utc_offset_s - now.utc_offset_s
        transaction.begin = _shifted(transaction.begin, shift_s)
        transaction.last = _shifted(transaction.last, shift_s)
        transaction.samples = tuple(
            MeterSample(s.context, _moved(s.reading, shift_s)) for s in transaction.samples
        )
    return transaction


def _shifted(reading: MeterReading | None, shift_s: float) -> MeterReading | None:
    return None if reading is None else _moved(reading, shift_s)


def _moved(reading: MeterReading, shift_s: float) -> MeterReading:
    return msgspec.structs.replace(reading, at_s=reading.at_s + shift_s)
