"""What was measured as figures beside their aims."""

import statistics
from collections.abc import Sequence

from msgspec import Struct

from hil.figures_long import LongDrain
from hil.figures_process import Memory
from hil.figures_queue import Drain, Restart
from hil.figures_store import Recorded
from hil.figures_syncs import Answered, Syncs

START_RATIO = 1.5
IDLE_MB = 36.0
SYNCS = 1.0
DRAIN_RATIO = 0.5
DRAIN_CPU_MS = 0.35
FLAT_RATIO = 0.8
"""The machine has other work, too: less would be a scan."""
FLAT_CPU = 1.2
FLAT_READ = 1.05
FILE_MB = 1.0
RESTART_S = 0.2
RESTART_MB = 2.0


class Figure(Struct, frozen=True):
    """A measured value and what it should not exceed, or `at_least` reach (None: only told)."""

    name: str
    value: float
    unit: str
    aim: float | None
    note: str
    at_least: bool = False

    def line(self) -> str:
        """As printed."""
        value = f"{self.value:.2f} {self.unit}".rstrip()
        if self.aim is None:
            verdict = ""
        else:
            is_met = self.value >= self.aim if self.at_least else self.value <= self.aim
            sign, met = ">=" if self.at_least else "<=", "met" if is_met else "NOT met"
            verdict = f"aim {sign} {self.aim:g}: {met}"
        return f"{self.name:<44} {value:>12}  {verdict:<20} {self.note}".rstrip()


def start_figure(agent_s: Sequence[float], bare_s: Sequence[float]) -> Figure:
    agent, bare = statistics.median(agent_s), statistics.median(bare_s)
    note = f"median of {len(agent_s)}: agent {agent:.3f} s, bare websockets client {bare:.3f} s"
    return Figure("start to BootNotification, agent : bare", agent / bare, "", START_RATIO, note)


def memory_figures(memory: Memory) -> list[Figure]:
    found = [Figure("idle memory, RSS", memory.rss_kb / 1024, "MB", IDLE_MB, "2 EVSEs, 5 devices")]
    if memory.pss_kb is not None:
        note = "its share where pages are shared with other processes"
        found.append(Figure("idle memory, PSS", memory.pss_kb / 1024, "MB", None, note))
    return found


def sync_figures(syncs: Syncs, answered: Answered | None) -> list[Figure]:
    note = f"{syncs.count} {syncs.how}, {syncs.events} events recorded"
    found = [Figure("syncs per recorded TransactionEvent", syncs.per_event, "", SYNCS, note)]
    if answered is not None and answered.events:
        note = f"{answered.count} {syncs.how}, {answered.events} waiting events answered"
        value = answered.count / answered.events
        found.append(Figure("syncs per answered TransactionEvent", value, "", SYNCS, note))
    return found


def recording_figures(recorded: Recorded) -> list[Figure]:
    note = f"{recorded.events} events with their transaction's state, one commit each"
    rate = recorded.events / recorded.took_s
    return [
        Figure("recorded events", rate, "/s", None, note),
        _written("bytes written per recorded event", recorded.written_bytes, recorded.events),
    ]


def drain_figures(drain: Drain) -> list[Figure]:
    event_s = drain.took_s / drain.events
    rate = f"{1 / event_s:.0f} events/s"
    raw = f"{rate}, a bare client with nothing to store {1 / drain.ping_pong_s:.0f} frames/s"
    both_s = drain.ping_pong_s + drain.commit_s
    bare = f"both, one after the other and nothing else, {1 / both_s:.0f}/s"
    commits = f"{rate}, bare SQLite {1 / drain.commit_s:.0f} FULL commits/s"
    cpu_ms = 1000 * (drain.cpu_s - drain.idle_cpu_s) / drain.events
    cpu = f"agent only, {drain.events} events, without its polling of devices"
    name = "drain : raw websocket ping-pong"
    return [
        Figure(name, drain.ping_pong_s / event_s, "", DRAIN_RATIO, raw, at_least=True),
        Figure("drain : SQLite's FULL commits", drain.commit_s / event_s, "", None, commits),
        Figure("drain : ping-pong and commit", both_s / event_s, "", None, bare),
        Figure("CPU per drained event", cpu_ms, "ms", DRAIN_CPU_MS, cpu),
        _written("bytes written per drained event", drain.written_bytes, drain.events),
    ]


def long_drain_figures(drain: LongDrain) -> list[Figure]:
    first, last, whole = drain.first, drain.last, drain.whole
    rows = f"{drain.rows:,} rows".replace(",", " ")
    part = f"{first.events:,}".replace(",", " ")
    begin, end = drain.looks[0], drain.looks[-1]
    first_rate, last_rate = first.events / first.took_s, last.events / last.took_s
    first_ms, last_ms = (1000 * s.cpu_s / s.events for s in (first, last))
    grown_mb = (end.rss_kb - begin.rss_kb) / 1024
    highest_mb = max(look.rss_kb for look in drain.looks) / 1024
    longest = max(look.file_bytes for look in drain.looks)
    log_mb = max(look.log_bytes for look in drain.looks) / 1e6
    sizes = f"{begin.file_bytes / 1e6:.1f} MB, longest {longest / 1e6:.1f} MB"
    after = f"closed {drain.closed_bytes / 1e6:.1f} MB, {drain.recorded} more events recorded"
    grown_to = max(longest, drain.closed_bytes, drain.recorded_bytes)
    rss = f"{begin.rss_kb / 1024:.1f} MB, at the end {end.rss_kb / 1024:.1f}"
    return [
        Figure(
            f"drain of {rows}, last : first {part}",
            last_rate / first_rate,
            "",
            FLAT_RATIO,
            f"{last_rate:.0f} against {first_rate:.0f} events/s, all in {whole.took_s:.0f} s",
            at_least=True,
        ),
        Figure(
            "CPU per drained event, last : first",
            last_ms / first_ms,
            "",
            FLAT_CPU,
            f"{last_ms:.2f} against {first_ms:.2f} ms, polling of devices included",
        ),
        Figure(
            "bytes read per drained event, last : first",
            (last.read_bytes / last.events) / (first.read_bytes / first.events),
            "",
            FLAT_READ,
            "of files, sockets and ports; however busy the machine is",
        ),
        Figure(
            "memory after it, larger by",
            grown_mb,
            "MB",
            RESTART_MB,
            f"RSS {rss}, highest {highest_mb:.1f} MB",
        ),
        Figure(
            "its file, larger by",
            (grown_to - begin.file_bytes) / 1e6,
            "MB",
            FILE_MB,
            f"{sizes}, {after} {drain.recorded_bytes / 1e6:.1f} MB, log {log_mb:.1f} MB at most",
        ),
        _written("bytes written per event of it", whole.written_bytes, whole.events),
    ]


def _written(name: str, written_bytes: int, events: int) -> Figure:
    return Figure(name, written_bytes / events / 1024, "kB", None, "log, pages and checkpoints")


def restart_figures(found: Sequence[Sequence[Restart]]) -> list[Figure]:
    """Each queue against the first one, which is the empty one."""
    empty_s, empty_mb = _boot_s(found[0]), _rss_mb(found[0])
    figures = []
    for restarts in found[1:]:
        rows = f"{restarts[0].rows:,} rows".replace(",", " ")
        boot_s, rss_mb = _boot_s(restarts), _rss_mb(restarts)
        first = statistics.median(r.first_s for r in restarts if r.first_s is not None)
        note = f"{boot_s:.3f} s against {empty_s:.3f} s, first event sent after {first:.3f} s"
        figures.append(
            Figure(f"start with {rows}, longer by", boot_s - empty_s, "s", RESTART_S, note)
        )
        note = f"{rss_mb:.1f} MB against {empty_mb:.1f} MB"
        figures.append(
            Figure(f"RSS with {rows}, more by", rss_mb - empty_mb, "MB", RESTART_MB, note)
        )
    return figures


def _boot_s(restarts: Sequence[Restart]) -> float:
    return statistics.median(restart.boot_s for restart in restarts)


def _rss_mb(restarts: Sequence[Restart]) -> float:
    return statistics.median(restart.rss_kb for restart in restarts) / 1024
