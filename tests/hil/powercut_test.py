"""Random kills of the real process: a few of them here, hundreds in `make powercut`."""

import contextlib
import itertools
import json
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.store.db import open_store
from agent.store.rows import Batch, NewRow
from hil.desk import EVSE_IDS
from hil.powercut import conclude, is_quiet, main, play
from hil.powercut_bench import PowercutBench, outbox_of
from hil.powercut_plan import SHARES, WARM_IN_A_ROW, Kill, Moment, kills, network
from hil.verdict import Verdict

SOUND = Verdict(
    recorded=9,
    delivered=9,
    lost=0,
    doubled=0,
    reordered=0,
    resent=1,
    billed_wh=40,
    given_away_wh=2,
    metered_wh=42,
    problems=(),
)


def kill(moment: Moment, after_s: float, *, cold: bool = True, controllers: bool = False) -> Kill:
    return Kill(moment, after_s, cold=cold, controllers=controllers, down_s=0.05, booted_s=30.0)


SIX = (
    kill(Moment.LONG_RUN, 4.0),
    kill(Moment.IN_FLIGHT, 0.0),
    kill(Moment.OPEN, 0.0),
    kill(Moment.START, 0.3, cold=False),
    kill(Moment.LONG_RUN, 3.0, controllers=True),
    kill(Moment.IN_FLIGHT, 0.0, cold=False),
)


async def test_it_is_not_quiet_before_the_end_of_each_transaction_has_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = PowercutBench()
    rows = [{"evse_id": evse_id, "status": "Available"} for evse_id in EVSE_IDS]
    looks = {"connectors": rows, "link": "online", "queue": 0}

    async def status() -> dict[str, object]:
        return looks

    monkeypatch.setattr(bench, "status", status)
    assert await is_quiet(bench)
    events = bench.csms.transactions["one"] = [{"eventType": "Started"}]
    assert not await is_quiet(bench)
    events.append({"eventType": "Ended"})
    assert await is_quiet(bench)
    looks["queue"] = 1
    assert not await is_quiet(bench)


async def test_six_kills_of_the_real_process_lose_double_and_reorder_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hil.powercut_bench.MOMENT_LIMIT_S", 60.0)
    said: list[str] = []
    async with PowercutBench() as bench:
        verdict = await play(bench, SIX, 3, said.append)
        assert verdict.problems == ()
        assert conclude(bench, verdict, said.append) == 0
    events = verdict.recorded
    assert said[-1] == f"power cuts: 6, events {events}, lost 0, doubled 0, reordered 0"
    assert events >= 2, "one was awaited, and its transaction has ended"
    assert verdict.delivered == events
    reasons = {boot["reason"] for boot in bench.csms.of("BootNotification")}
    assert reasons == {"PowerUp", "Watchdog"}, "power cuts on other boots, crashes on the same"


class RobbedBench(PowercutBench):
    """Nobody answers an event before the first kill; then the newest of those on disk is gone."""

    async def start_agent(self) -> None:
        if self.kills:
            with contextlib.closing(
                sqlite3.connect(self.directory / "data/chargepoint.db")
            ) as disk:
                disk.execute("DELETE FROM outbox WHERE row_id = (SELECT max(row_id) FROM outbox)")
                disk.commit()
            self.csms.answer.clear()
        await super().start_agent()


async def test_a_disk_that_loses_an_event_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.powercut_bench.MOMENT_LIMIT_S", 60.0)
    monkeypatch.setattr("hil.powercut_scene.SLOW_SHARE", 1.0)
    monkeypatch.setattr("hil.powercut_scene.SLOW_S", 1e9)
    said: list[str] = []
    async with RobbedBench() as bench:
        verdict = await play(bench, (kill(Moment.IN_FLIGHT, 2.0),), 3, said.append)
        assert verdict.lost == 1
        assert conclude(bench, verdict, said.append) == 1
    assert any("was on disk and never came" in line for line in said)


# --- the plan -------------------------------------------------------------------------------------


def test_a_seed_repeats_the_schedule_and_another_one_does_not() -> None:
    assert list(kills(7, 200)) == list(kills(7, 200)) != list(kills(8, 200))
    some = list(itertools.islice(network(7), 50))
    assert some == list(itertools.islice(network(7), 50))
    assert some != list(itertools.islice(network(8), 50))


def test_more_kills_begin_with_the_same_ones() -> None:
    assert list(kills(7, 1000))[:200] == list(kills(7, 200))


@pytest.mark.parametrize("seed", range(20))
def test_two_hundred_kills_are_of_every_kind_and_never_look_like_a_crash_loop(seed: int) -> None:
    plan = list(kills(seed, 200))
    assert {each.moment for each in plan} == set(Moment)
    assert all(SHARES[k.moment][1][0] <= k.after_s <= SHARES[k.moment][1][1] for k in plan)
    warm = [len(list(run)) for cold, run in itertools.groupby(k.cold for k in plan) if not cold]
    assert warm
    assert max(warm) <= WARM_IN_A_ROW
    dark = [k for k in plan if k.controllers]
    assert dark
    assert all(k.cold for k in dark)
    assert sum(k.after_s + k.down_s for k in plan) < 405.0


# --- what is on disk ------------------------------------------------------------------------------


def row(message_id: str, seq_no: int, action: str = "TransactionEvent") -> NewRow:
    body = json.dumps({"transactionInfo": {"transactionId": "t"}, "seqNo": seq_no})
    return NewRow(message_id, action, body, "boot", False, "Updated", 0.0)


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


async def test_the_outbox_of_a_dead_agent_is_read_with_its_log_and_left_as_it_is(
    tmp_path: Path,
) -> None:
    store = await open_store(str(tmp_path / "chargepoint.db"))
    rows = (row("m0", 0), row("m1", 1), row("n", 0, "SecurityEventNotification"))
    await store.commit(Batch(enqueue=rows))
    before = content(tmp_path)
    assert outbox_of(tmp_path) == {"m0": ("t", 0), "m1": ("t", 1)}
    assert content(tmp_path) == before
    await store.close()


def test_a_directory_without_a_database_holds_no_events(tmp_path: Path) -> None:
    assert outbox_of(tmp_path) == {}
    (tmp_path / "chargepoint.db").touch()
    assert outbox_of(tmp_path) == {}


# --- the conclusion -------------------------------------------------------------------------------


def concluded(verdict: Verdict) -> tuple[int, list[str]]:
    bench = PowercutBench()
    bench.kills, bench.network_cuts = 5, 2
    said: list[str] = []
    return conclude(bench, verdict, said.append), said


def test_the_last_line_has_the_figures_and_the_one_before_what_was_sent_again() -> None:
    code, said = concluded(SOUND)
    assert code == 0
    assert said[-1] == "power cuts: 5, events 9, lost 0, doubled 0, reordered 0"
    assert said[-2].startswith("sent again: 1 events, at most the one in flight")
    assert "billed 40 Wh + given away 2 Wh" in said[-3]


def test_any_problem_fails_the_run_and_is_named() -> None:
    code, said = concluded(replace(SOUND, lost=1, problems=("1 never came",)))
    assert code == 1
    assert said[0] == "power cuts: FAILED: 1 never came"
    assert said[-1] == "power cuts: 5, events 9, lost 1, doubled 0, reordered 0"


def test_more_sent_again_than_links_broke_fails_the_run() -> None:
    assert concluded(replace(SOUND, resent=7))[0] == 0
    code, said = concluded(replace(SOUND, resent=8))
    assert code == 1
    assert "8 events were sent again, but only 7 links broke" in said[0]


def test_no_kills_at_all_are_a_wrong_command_line() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--kills", "0"])


def test_an_agent_that_does_not_run_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert main(["--kills", "1", "--seed", "1"]) == 1
    assert "FAILED: the agent ended with exit code 1" in capsys.readouterr().out
