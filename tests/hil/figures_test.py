"""`make bench`: its arithmetic, and one short run through its process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hil import figures_syncs
from hil.figures import Figure, main, measure_syncs, memory_of, start_figure, sync_figures
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


def test_a_bench_that_fails_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hil import figures

    async def fail(runs: int, idle_s: float) -> None:
        raise figures.BenchError("the agent ended with exit code 3")

    monkeypatch.setattr(figures, "measure_process", fail)
    assert main([]) == 1
    assert "make bench: the agent ended" in capsys.readouterr().err


def test_a_short_run_prints_every_figure_and_ends_with_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hil.figures", "--runs", "1", "--idle-s", "0.5"],
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
    assert len(raw["agent_start_s"]) == len(raw["bare_start_s"]) == 1
    assert raw["syncs"]["events"] > 5
    assert ("syncs per answered TransactionEvent" in names) == strace_works()
    assert "... start 1" in done.stderr
