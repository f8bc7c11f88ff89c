"""HTTPS and FTPS for real: whole files both ways, never with a server that nobody vouches for."""

import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.csms import tls
from agent.jobs import JobError, Task
from agent.jobs.transfer import fetch, send, trusting
from agent.jobs.web import Context
from hil.parts.file_servers import LOGIN, Ftp, Web, serving
from hil.parts.pki import PAST, Root, server_context

CONTENT = bytes(range(256)) * 2048
LARGEST = 2 * len(CONTENT)
ROOT, STRANGER = Root("csms"), Root("stranger")
GOOD = ROOT.server("localhost")
BAD = {
    "another root": STRANGER.server("localhost"),
    "expired": ROOT.server("localhost", end=PAST),
    "not yet valid": ROOT.server("localhost", start=datetime(2085, 1, 1, tzinfo=UTC)),
    "another name": ROOT.server("elsewhere.invalid"),
}
FAULTS_IN_1970 = [("another root", "not trusted"), ("another name", "not trusted")]
Serve = Callable[[str], "Served"]


class Served:
    """One server, as the tests look at it."""

    def __init__(self, url: str, resumed: Callable[[int], bool], got: Callable[[], bytes]) -> None:
        self.url = url
        self.resumed = resumed
        """Whether a download was asked for from that byte on."""
        self.got = got


@pytest.fixture(params=["https", "ftps"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serve]:
    """Starts a server of the kind with the given certificate and key (PEM)."""
    open_blocks = []
    root = tmp_path / "served"
    (root / "logs").mkdir(parents=True)
    (root / "firmware").write_bytes(CONTENT)

    def web(pem: str) -> Served:
        server = Web(CONTENT, server_context(tmp_path, pem))
        open_blocks.append(serving(server))
        return Served(
            server.url, lambda at: f"bytes={at}-" in server.ranges, lambda: server.got[-1][3]
        )

    def ftp(pem: str) -> Served:
        path = tmp_path / "ftps.pem"
        path.write_text(pem)
        server = Ftp(root, path)
        open_blocks.append(serving(server.server))
        log = root / "logs/log.zip"
        return Served(server.url, lambda at: f"REST {at}" in server.commands, log.read_bytes)

    def start(pem: str) -> Served:
        served = (web if request.param == "https" else ftp)(pem)
        open_blocks[-1].__enter__()
        return served

    yield start
    for block in open_blocks:
        block.__exit__(None, None, None)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.zip"
    path.write_bytes(CONTENT)
    return path


def trusts(*roots: Root) -> Context:
    return lambda: trusting([root.pem for root in roots])


def task() -> Task:
    return Task(lambda step, percent: None)


def test_a_file_is_fetched_and_a_log_is_sent(serve: Serve, tmp_path: Path, log: Path) -> None:
    served, path = serve(GOOD), tmp_path / "f.bin"
    fetch(f"{served.url}/firmware", path, task(), trusts(ROOT), LARGEST)
    assert path.read_bytes() == CONTENT
    send(f"{served.url}/logs/", log, "log.zip", task(), trusts(ROOT))
    assert served.got() == CONTENT


def test_a_cut_download_goes_on_where_it_ended(serve: Serve, tmp_path: Path) -> None:
    served, path = serve(GOOD), tmp_path / "f.bin"

    def cut(step: str, percent: int) -> None:
        if percent >= 50:
            raise ConnectionResetError("cut")

    with pytest.raises(JobError, match="cut"):
        fetch(f"{served.url}/firmware", path, Task(cut), trusts(ROOT), LARGEST)
    have = path.stat().st_size
    assert 0 < have < len(CONTENT)
    fetch(f"{served.url}/firmware", path, task(), trusts(ROOT), LARGEST)
    assert path.read_bytes() == CONTENT
    assert served.resumed(have)


@pytest.mark.parametrize("fault", BAD)
def test_a_server_that_nobody_vouches_for_gets_and_gives_nothing(
    serve: Serve, tmp_path: Path, log: Path, fault: str
) -> None:
    served, path = serve(BAD[fault]), tmp_path / "f.bin"
    with pytest.raises(JobError, match=r"not trusted.*install its root") as error:
        fetch(f"{served.url}/firmware", path, task(), trusts(ROOT), LARGEST)
    assert error.value.cause == "DownloadFailed"
    assert not path.exists()
    with pytest.raises(JobError, match="not trusted") as error:
        send(f"{served.url}/logs/", log, "log.zip", task(), trusts(ROOT))
    assert error.value.cause == "UploadFailure"
    with pytest.raises((IndexError, FileNotFoundError)):
        served.got()


def test_without_a_root_of_the_csms_those_of_the_system_decide(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N01.FR.16."""
    served, path = serve(GOOD), tmp_path / "f.bin"
    with pytest.raises(JobError, match="not trusted"):
        fetch(f"{served.url}/firmware", path, task(), trusts(), LARGEST)
    system = tmp_path / "system.pem"
    system.write_text(ROOT.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    fetch(f"{served.url}/firmware", path, task(), trusts(STRANGER), LARGEST)
    assert path.read_bytes() == CONTENT


def test_ftps_says_no_password_before_the_connection_is_encrypted(tmp_path: Path) -> None:
    """A server without TLS, or one in between that says so."""
    server = Ftp(tmp_path)
    with serving(server.server):
        url = server.url.replace("ftp://", "ftps://")
        with pytest.raises(JobError):
            fetch(f"{url}/firmware", tmp_path / "f.bin", task(), trusts(ROOT), LARGEST)
    assert LOGIN.partition(":")[0] not in " ".join(server.commands)
    assert "PASS" not in server.commands


def test_tls_1_1_is_not_spoken(tmp_path: Path) -> None:
    context = server_context(tmp_path, GOOD, version=ssl.TLSVersion.TLSv1_1)
    with serving(Web(CONTENT, context)) as server, pytest.raises(JobError):
        fetch(f"{server.url}/firmware", tmp_path / "f.bin", task(), trusts(ROOT), LARGEST)
    assert not server.ranges


def test_a_download_is_not_sent_on_from_tls_to_none(tmp_path: Path) -> None:
    with (
        serving(Web(CONTENT)) as plain,
        serving(Web(CONTENT, server_context(tmp_path, GOOD))) as secured,
    ):
        secured.moves["/away"] = f"{plain.url}/firmware"
        with pytest.raises(JobError, match="from HTTPS to HTTP"):
            fetch(f"{secured.url}/away", tmp_path / "f.bin", task(), trusts(ROOT), LARGEST)
        assert plain.asked == []


# --- before the clock is right --------------------------------------------------------------------

YEAR_2030_S = 1_893_456_000.0


def held(*roots: Root) -> Context:
    """As the daemon makes it."""

    def context() -> ssl.SSLContext:
        made = trusting([root.pem for root in roots])
        tls.hold_to_build_date(made)
        return made

    return context


@pytest.fixture
def in_1970(monkeypatch: pytest.MonkeyPatch) -> None:
    """The board's clock, of an agent that was built in 2030."""
    monkeypatch.setattr(tls.time, "time", lambda: 0.0)
    monkeypatch.setattr(tls, "build_date_s", lambda: YEAR_2030_S)


@pytest.mark.usefixtures("in_1970")
def test_in_1970_a_file_server_is_held_to_the_build_date(serve: Serve, tmp_path: Path) -> None:
    served, path = serve(BAD["not yet valid"]), tmp_path / "f.bin"
    fetch(f"{served.url}/firmware", path, task(), held(ROOT), LARGEST)
    assert path.read_bytes() == CONTENT


@pytest.mark.usefixtures("in_1970")
@pytest.mark.parametrize(("fault", "words"), [("expired", "before this agent"), *FAULTS_IN_1970])
def test_in_1970_all_else_of_a_file_server_is_checked_as_always(
    serve: Serve, tmp_path: Path, log: Path, fault: str, words: str
) -> None:
    served, path = serve(BAD[fault]), tmp_path / "f.bin"
    with pytest.raises(JobError, match=words):
        fetch(f"{served.url}/firmware", path, task(), held(ROOT), LARGEST)
    with pytest.raises(JobError, match=words):
        send(f"{served.url}/logs/", log, "log.zip", task(), held(ROOT))
    assert not path.exists()
    with pytest.raises((IndexError, FileNotFoundError)):
        served.got()


def test_with_a_clock_that_may_be_right_nothing_is_passed_over(
    serve: Serve, tmp_path: Path
) -> None:
    served = serve(BAD["not yet valid"])
    with pytest.raises(JobError, match="not trusted"):
        fetch(f"{served.url}/firmware", tmp_path / "f.bin", task(), held(ROOT), LARGEST)
