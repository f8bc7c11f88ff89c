"""`make bench`: its arithmetic, and short runs of its parts."""

import asyncio
import json
import logging
import os
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path

import msgspec
import pytest
from packaging.requirements import Requirement

from agent.ocpp.messages import validate_request
from agent.store import open_store
from hil import figures_rows, figures_syncs
from hil.figures import ONLY_TOOLS, as_installed, main, measure_syncs
from hil.figures_lines import (
    Figure,
    drain_figures,
    long_drain_figures,
    recording_figures,
    restart_figures,
    start_figure,
    sync_figures,
)
from hil.figures_long import LongDrain, Look, measure_long_drain
from hil.figures_process import cost_of, memory_of
from hil.figures_queue import Drain, Restart, measure_drain, measure_restarts
from hil.figures_store import Recorded, measure_commits, measure_recording
from hil.figures_syncs import Answered, Syncs, committed, count_syncs, strace_works

ROOT = Path(__file__).parent.parent.parent

TRACE = """\
100 1000.500000 fsync(6)        = 0
100 1001.000000 fdatasync(7 <unfinished ...>
101 1001.100000 fdatasync(8)    = 0
100 1001.200000 <... fdatasync resumed>) = 0
100 1002.000000 --- SIGCHLD {si_signo=SIGCHLD} ---
1003.000000 fdatasync(7) = -1 EIO (Input/output error)
100 +++ exited with 0 +++
"""


@pytest.mark.parametrize(
    ("from_s", "to_s", "count"), [(0, 2000, 4), (1001, 1003, 2), (1000.6, 1001, 0)]
)
def test_sync_calls_are_counted_once_where_they_begin(
    from_s: float, to_s: float, count: int
) -> None:
    assert count_syncs(TRACE, from_s, to_s) == count


@pytest.mark.parametrize(
    ("value", "aim", "words"),
    [
        (1.5, 1.5, "aim <= 1.5: met"),
        (1.51, 1.5, "NOT met"),
        (float("nan"), 1.0, "NOT met"),
        (3.0, None, "  why"),
    ],
)
def test_a_line_says_whether_the_aim_is_met(value: float, aim: float | None, words: str) -> None:
    line = Figure("start", value, "s", aim, "why").line()
    assert line.startswith("start ")
    assert line.endswith("why")
    assert words in line


def test_the_start_is_a_ratio_of_medians() -> None:
    figure = start_figure([9.0, 0.2, 0.3], [0.1, 0.1, 5.0])
    assert figure.value == pytest.approx(3.0)
    assert "agent 0.300 s" in figure.note
    assert "client 0.100 s" in figure.note


def test_syncs_are_told_for_each_event_and_how_they_were_counted() -> None:
    recorded, answered = sync_figures(Syncs(13, 26, "sync calls"), Answered(10, 5))
    assert (recorded.value, answered.value) == (0.5, 2.0)
    assert "13 sync calls, 26 events recorded" in recorded.line()
    assert len(sync_figures(Syncs(1, 1, "commits"), None)) == 1


def test_without_strace_the_commits_are_counted_and_the_package_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(figures_syncs.shutil, "which", lambda name: None)
    syncs, answered = measure_syncs()
    assert answered is None
    assert "commits" in syncs.how
    assert "install the package strace" in capsys.readouterr().err


def test_the_simulated_charge_records_an_event_a_minute_for_an_hour() -> None:
    assert committed().events == pytest.approx(61, abs=2)


def test_the_memory_of_a_process_is_read_from_the_kernel() -> None:
    memory = memory_of(os.getpid())
    assert 5_000 < memory.rss_kb < 2_000_000
    assert memory.pss_kb is None or 0 < memory.pss_kb <= memory.rss_kb


def test_cpu_and_bytes_written_are_read_from_the_kernel() -> None:
    before = cost_of(os.getpid())
    sum(range(3_000_000))
    after = cost_of(os.getpid())
    assert after.cpu_s > before.cpu_s
    told = Path("/proc/self/io").read_text()
    assert f"\nwrite_bytes: {after.written_bytes}\n" in told


# --- the queue ------------------------------------------------------------------------------------


async def test_a_filled_queue_is_one_the_agent_could_have_recorded(tmp_path: Path) -> None:
    database = tmp_path / "chargepoint.db"
    await figures_rows.fill(database, 31)
    store = await open_store(str(database), inline=True)
    rows = await store.waiting_rows(0, 100)
    await store.close()
    kinds = "".join(row.event_type[0] for row in rows)
    assert kinds == "S" + 13 * "U" + "E" + "S" + 13 * "U" + "E" + "S"
    bodies = [json.loads(row.body) for row in rows]
    for row, body in zip(rows, bodies, strict=True):
        validate_request(row.action, body)
        assert body["eventType"] == row.event_type
    assert [body["seqNo"] for body in bodies] == [*range(15), *range(15), 0]
    assert len({body["transactionInfo"]["transactionId"] for body in bodies}) == 3
    assert len({row.message_id for row in rows}) == 31
    with sqlite3.connect(database) as connection:
        assert (
            connection.execute("SELECT count(*) FROM outbox WHERE checksum IS NULL").fetchone()[0]
            == 0
        )
    connection.close()


def test_the_drain_is_set_against_what_the_machine_can_do() -> None:
    drain = Drain(1000, 2.0, 0.6, 4_096_000, 0.1, 0.0005, 0.0015)
    raw, commits, both, cpu, written = drain_figures(drain)
    assert (raw.value, commits.value, both.value) == pytest.approx((0.25, 0.75, 1.0))
    assert cpu.value == pytest.approx(0.5)
    assert written.value == pytest.approx(4.0)
    assert "aim >= 0.5: NOT met" in raw.line()
    assert "aim >= 0.5: met" in Figure("x", 0.5, "", 0.5, "", at_least=True).line()


def test_restarts_are_set_against_those_with_an_empty_queue() -> None:
    empty = [Restart(0, 0.2, None, 30_720), Restart(0, 9.0, None, 30_720), Restart(0, 0.1, None, 1)]
    full = [Restart(1_000_000, 0.5, 0.6, 34_816)]
    longer, more = restart_figures([empty, full])
    assert longer.value == pytest.approx(0.3)
    assert "1 000 000 rows" in longer.name
    assert "first event sent after 0.600 s" in longer.note
    assert more.value == pytest.approx(4.0)


def test_recording_is_told_by_the_second_and_in_kilobytes() -> None:
    rate, written = recording_figures(Recorded(100, 0.5, 819_200))
    assert (rate.value, written.value) == (200.0, 8.0)


async def test_recording_and_bare_commits_reach_the_disk(tmp_path: Path) -> None:
    recorded = await measure_recording(tmp_path, 20)
    assert recorded.events == 20
    assert recorded.took_s > 0
    assert 0 < await measure_commits(tmp_path, 20) < 10


def test_a_short_drain_of_the_real_agent_is_measured() -> None:
    with as_installed():
        drain = asyncio.run(measure_drain(events=300, idle_s=0.5, ping_pongs=100))
    assert drain.events == 300
    assert 0 < drain.cpu_s < 60
    assert 0 < drain.took_s < 60
    assert drain.written_bytes >= 0, "not counted on a disk in memory"


def look(answered: int, at_s: float, rss_kb: int = 40_960) -> Look:
    return Look(answered, at_s, at_s / 2, 2_000 * answered, 4_096 * answered, rss_kb, 10**9, 4)


def test_a_long_drain_is_flat_where_its_end_is_like_its_begin() -> None:
    looks = [look(10 * step, float(step), 40_960 + step * 10) for step in range(1, 101)]
    flat = long_drain_figures(LongDrain(1000, looks, 10**9, 5, 10**9))
    assert [figure.value for figure in flat] == pytest.approx([1, 1, 1, 990 / 1024, 0, 4])
    assert all("NOT" not in figure.line() for figure in flat)
    slow = [*looks[:-1], look(1000, 105.0, 90_000)]
    rates, cpu, _, memory, file, _ = long_drain_figures(LongDrain(1000, slow, 10**9, 5, 2 * 10**9))
    assert (rates.value, cpu.value) == pytest.approx((0.5, 2.0))
    assert all("NOT met" in figure.line() for figure in (rates, cpu, memory, file))


LOADED = "import json, sys, agent.cli; print(json.dumps([sorted(sys.modules), sys.pycache_prefix]))"


def test_the_agent_is_measured_without_what_only_developers_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    def loaded() -> tuple[list[str], str | None]:
        words = [sys.executable, "-c", LOADED]
        said = subprocess.run(words, capture_output=True, cwd=ROOT, timeout=60, check=True).stdout
        return msgspec.json.decode(said, type=tuple[list[str], str | None])

    with as_installed():
        modules, bytecode = loaded()
        assert bytecode is not None
        assert Path(bytecode).is_dir()
    assert "msgspec" in modules
    assert not set(ONLY_TOOLS) & set(modules)
    assert os.environ["PYTHONPATH"] == str(ROOT)
    assert os.environ["PYTHONDONTWRITEBYTECODE"] == "1"


def brought_by(wanted: Iterable[str]) -> set[str]:
    """Names of all that pip would install for these requirements here, without extras."""
    brought: set[str] = set()
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        one = waiting.pop()
        name = one.name.lower().replace("-", "_")
        is_meant = one.marker is None or one.marker.evaluate({"extra": ""})
        if is_meant and name not in brought:
            brought.add(name)
            waiting += [Requirement(text) for text in requires(one.name) or ()]
    return brought


def test_what_the_bench_hides_is_not_on_a_board() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brought = brought_by(project["dependencies"])
    assert {"msgspec", "cffi"} <= brought
    assert not set(ONLY_TOOLS) & brought
    assert set(ONLY_TOOLS) <= brought_by(["mypy"])


def test_a_short_queue_is_drained_to_its_end() -> None:
    said: list[str] = []
    with as_installed():
        found = asyncio.run(measure_long_drain(1_000, said.append, steps=10))
    assert [look.answered for look in found.looks] == [*range(100, 1_001, 100)]
    assert found.closed_bytes == found.looks[0].file_bytes
    assert any("      500 left" in line for line in said)


def test_starts_on_queues_of_several_lengths_are_measured() -> None:
    with as_installed():
        empty, full = asyncio.run(measure_restarts((0, 300), starts=1, idle_s=0.1))
    assert (empty[0].rows, empty[0].first_s) == (0, None)
    assert full[0].rows == 300
    assert full[0].first_s is not None
    assert full[0].first_s > full[0].boot_s > 0
    assert full[0].rss_kb > 5_000


# --- the process ----------------------------------------------------------------------------------


def test_bytecode_is_found_within_and_the_environment_is_as_before_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    before = dict(os.environ)
    with as_installed():
        assert "PYTHONDONTWRITEBYTECODE" not in os.environ
        assert Path(os.environ["PYTHONPYCACHEPREFIX"]).is_dir()
    assert dict(os.environ) == before


def test_a_bench_that_fails_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hil import figures

    async def fail(runs: int, idle_s: float) -> None:
        raise figures.BenchError("the agent ended with exit code 3")

    monkeypatch.setattr(figures, "measure_process", fail)
    level = logging.getLogger().level
    assert main(["--parts", "start"]) == 1
    assert logging.getLogger().level == level
    assert "make bench: the agent ended" in capsys.readouterr().err


def test_a_short_run_prints_its_figures_and_ends_with_json() -> None:
    parts = ("start", "syncs", "recording")
    done = subprocess.run(
        [sys.executable, "-m", "hil.figures", "--runs", "1", "--idle-s", "0.5", "--parts", *parts],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    raw = json.loads(done.stdout.splitlines()[-1])
    for figure in raw["figures"]:
        assert figure["name"] in done.stdout
    names = [figure["name"] for figure in raw["figures"]]
    assert names[0] == "start to BootNotification, agent : bare"
    assert "idle memory, RSS" in names
    assert "syncs per recorded TransactionEvent" in names
    assert names[-1] == "bytes written per recorded event"
    assert len(raw["agent_start_s"]) == len(raw["bare_start_s"]) == 1
    assert raw["syncs"]["events"] > 5
    assert ("syncs per answered TransactionEvent" in names) == strace_works()
    assert "... start 1" in done.stderr
