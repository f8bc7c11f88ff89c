"""`chargepoint queue`: through the console of a running station, else from its file."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from agent import cli, queue_export
from agent.console import Console, ConsoleError
from agent.store import Batch, NewRow, Store, open_store
from agent.store.file import DATABASE
from hil.parts.csms import Refused
from hil.scenarios.day import begin
from hil.sim import SimBench
from hil.virtual_time import run_virtual

ROOT = Path(__file__).parent.parent.parent
LAB = ROOT / "config" / "examples" / "lab.yaml"


def row(number: int, body: str = "") -> NewRow:
    body = body or f'{{"seqNo":{number}}}'
    return NewRow(f"m{number}", "TransactionEvent", body, "boot", True, "Updated", 1.5)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """charger.yaml with its data directory beside it."""
    content = yaml.safe_load(LAB.read_text())
    content["data_directory"] = str(tmp_path / "data")
    file = tmp_path / "charger.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def database(config: Path) -> Path:
    return config.parent / "data" / DATABASE


async def filled(config: Path, waiting: int = 3, refused: int = 2) -> Store:
    store = await open_store(str(database(config)))
    rows = tuple(row(number) for number in range(refused + waiting))
    if rows:
        await store.commit(Batch(enqueue=rows))
    aside = tuple((number, "InternalError") for number in range(1, refused + 1))
    await store.commit(Batch(attempts=aside))
    await store.commit(Batch(set_aside=aside))
    return store


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def queue(*words: str) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", "queue", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


# --- a station that stands ------------------------------------------------------------------------


def test_a_line_says_all_that_is_known_of_a_message(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fill() -> None:
        await (await filled(config, waiting=1, refused=1)).close()

    asyncio.run(fill())
    assert cli.main(["queue", str(config)]) == 0
    waiting, refused = said(capsys)
    assert waiting == {
        "state": "waiting",
        "row_id": 2,
        "message_id": "m1",
        "action": "TransactionEvent",
        "body": {"seqNo": 1},
        "boot_id": "boot",
        "offline": True,
        "event_type": "Updated",
        "created_s": 1.5,
        "attempts": 0,
        "reason": "",
    }
    assert (refused["state"], refused["message_id"]) == ("set_aside", "m0")
    assert (refused["reason"], refused["attempts"]) == ("InternalError", 1)
    assert cli.main(["queue", "--waiting", str(config)]) == 0
    assert said(capsys) == [waiting]
    assert cli.main(["queue", "--set-aside", str(config)]) == 0
    assert said(capsys) == [refused]


def test_reading_the_file_changes_nothing_also_after_a_crash(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left: dict[str, bytes] = {}

    async def crash() -> None:
        store = await filled(config, waiting=700, refused=0)
        for path in await asyncio.to_thread(lambda: list(database(config).parent.iterdir())):
            left[path.name] = await asyncio.to_thread(path.read_bytes)
        await store.close()

    asyncio.run(crash())
    assert set(left) == {DATABASE, f"{DATABASE}-wal"}
    for name, content in left.items():
        database(config).with_name(name).write_bytes(content)
    assert cli.main(["queue", str(config)]) == 0
    assert [line["message_id"] for line in said(capsys)] == [f"m{n}" for n in range(700)]
    here = {path.name: path.read_bytes() for path in database(config).parent.iterdir()}
    assert here == left


def test_a_file_held_by_a_service_that_does_not_answer_is_left_alone(config: Path) -> None:
    async def hold() -> "subprocess.CompletedProcess[str]":
        store = await filled(config)
        try:
            return await asyncio.to_thread(queue, str(config))
        finally:
            await store.close()

    done = asyncio.run(hold())
    assert done.returncode == 1
    assert done.stdout == ""
    assert "held by a running chargepoint that does not answer on its console" in done.stderr


def test_a_station_that_never_ran_says_so(config: Path) -> None:
    done = queue(str(config))
    assert done.returncode == 1
    assert "has never run with this charger.yaml, check data_directory" in done.stderr


def test_a_file_of_the_first_format_can_be_read_before_the_update_ran(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database(config).parent.mkdir()
    connection = sqlite3.connect(database(config))
    script = ROOT / "tests" / "agent" / "store" / "formats" / "v1.sql"
    connection.executescript(script.read_text() + "PRAGMA user_version=1;")
    connection.close()
    assert cli.main(["queue", str(config)]) == 0
    assert [line["message_id"] for line in said(capsys)] == ["m3", "m4", "m2"]


def test_a_body_that_is_no_json_is_told_as_it_is() -> None:
    kept = msgspec.convert(
        {
            **msgspec.structs.asdict(row(1, body="{")),
            "row_id": 1,
            "attempts": 0,
            "reason": "",
        },
        queue_export.HeadRow,
    )
    assert queue_export.as_told(kept, "waiting")["body"] == "{"


# --- a station that runs --------------------------------------------------------------------------


async def while_running(config: Path, store: Store) -> "subprocess.CompletedProcess[str]":
    console = Console(
        str(database(config).parent / "console.sock"),
        {"queue": queue_export.answer_from(store)},
    )
    running = asyncio.create_task(console.run())
    try:
        return await asyncio.to_thread(queue, str(config))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()


async def test_of_a_running_station_many_pages_come_whole_and_in_order(config: Path) -> None:
    store = await filled(config, waiting=queue_export.PAGE_ROWS * 2, refused=3)
    done = await while_running(config, store)
    assert done.stderr == ""
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    names = [line["message_id"] for line in lines]
    waiting = [f"m{n}" for n in range(3, 3 + queue_export.PAGE_ROWS * 2)]
    assert names == [*waiting, "m0", "m1", "m2"]


async def test_a_page_is_bounded_in_bytes(config: Path) -> None:
    store = await open_store(str(database(config)))
    big = '{"x":"' + "x" * 300_000 + '"}'
    await store.commit(Batch(enqueue=tuple(row(n, big) for n in range(9))))
    answer = queue_export.answer_from(store)
    first = await answer({"state": "waiting"})
    assert (len(first["rows"]), first["next"]) == (4, 4)
    second = await answer({"state": "waiting", "after": 4})
    last = await answer({"state": "waiting", "after": second["next"]})
    assert [len(page["rows"]) for page in (second, last)] == [4, 1]
    assert last["next"] is None
    await store.close()


@pytest.mark.parametrize("request_", [{}, {"state": "gone"}, {"state": "waiting", "after": "x"}])
async def test_a_wrong_request_says_how_to_ask(request_: dict[str, Any], config: Path) -> None:
    store = await open_store(":memory:", inline=True)
    with pytest.raises(ConsoleError, match="one of waiting, set_aside"):
        await queue_export.answer_from(store)(request_)
    await store.close()


# --- from the refusal to the figure ---------------------------------------------------------------


def test_a_refused_event_is_counted_where_the_technician_and_the_csms_look() -> None:
    variables = {
        "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": "3",
        "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": "10",
    }

    async def scene() -> None:
        async with SimBench(evse_count=1, variables=variables) as bench:
            await bench.csms.wait_for("StatusNotification")
            bench.csms.answer["TransactionEvent"] = Refused("InternalError")
            await begin(bench, 1, "04A1B2C3")
            await bench.until(lambda: bench.agent.status()["set_aside"] > 0, limit_s=900)
            del bench.csms.answer["TransactionEvent"]
            await bench.until(lambda: bench.agent.status()["queue"] == 0)
            count = bench.agent.status()["set_aside"]
            name = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "SetAsideEvents"}}
            answer = await bench.csms.call("GetVariables", {"getVariableData": [name]})
            assert answer["getVariableResult"][0]["attributeValue"] == str(count)
            await bench.crash()
            await bench.start(cold=False)
            assert bench.agent.status()["set_aside"] == count, "over restarts"
            page = await queue_export.answer_from(bench.agent.store)({"state": "set_aside"})
            first = page["rows"][0]
            assert (first["attempts"], first["reason"]) == (3, "InternalError")
            assert first["body"]["eventType"] == "Started"

    run_virtual(scene())
