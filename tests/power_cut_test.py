"""A power cut after every step of a day: nothing sold is lost, doubled or reordered."""

import pytest

from agent.store import file
from hil.cuts import Cut, every_cut
from hil.parts.lossy_disk import LossyDisk

FEW_PROBLEMS = 5


def trouble(cuts: list[Cut]) -> str:
    """The first problems of those cuts that had any; empty when all went well."""
    bad = [cut for cut in cuts if cut.problems]
    lines = [f"{len(bad)} of {len(cuts)} cuts went wrong"] if bad else []
    for cut in bad[:FEW_PROBLEMS]:
        lines.append(f"cut {cut.number} after {cut.effect} at {cut.at_s:.2f} s: {cut.problems}")
    return "\n".join(lines)


@pytest.fixture
def lossy(monkeypatch: pytest.MonkeyPatch) -> LossyDisk:
    """The disk under every store that is opened from now on."""
    disk = LossyDisk()
    monkeypatch.setattr(file, "open_database", disk.connect)
    return disk


@pytest.mark.timeout(600)
def test_a_kill_at_every_step_of_a_day_loses_nothing() -> None:
    cuts = list(every_cut())
    assert trouble(cuts) == ""
    assert len(cuts) > 400
    assert {"Enqueue", "SettleRow", "AllowPower", "StopPower", "arrival of TransactionEvent"} <= {
        cut.effect for cut in cuts
    }
    assert sum(cut.resent for cut in cuts) > 20, "no cut met a message in flight"
    assert sum(cut.verdict.metered_wh for cut in cuts) > 0


def test_a_power_cut_that_forgets_unsynced_writes_loses_nothing(lossy: LossyDisk) -> None:
    cuts = list(every_cut(lossy.leave))
    assert trouble(cuts) == ""
    assert lossy.syncs > 100


def test_without_syncs_the_same_cuts_lose_events(
    lossy: LossyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof that the test above can fail."""

    def connect_unsynced(path: str, **options: object):  # type: ignore[no-untyped-def]
        connection = lossy.connect(path)
        execute = connection.execute
        connection.execute = lambda sql, values=(): execute(  # type: ignore[method-assign]
            sql.replace("synchronous=FULL", "synchronous=OFF"), values
        )
        return connection

    monkeypatch.setattr(file, "open_database", connect_unsynced)
    cuts = list(every_cut(lossy.leave, wanted=lambda number: number % 30 == 0))
    assert sum(bool(cut.problems) for cut in cuts) > len(cuts) / 2
