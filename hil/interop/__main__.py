"""`make interop`: the scene before each foreign CSMS; the last line of each says what it kept."""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from agent.errors import ChargepointError
from hil.desk import BenchError, DeskBench
from hil.interop.arthexis import Arthexis
from hil.interop.compare import Result, compare
from hil.interop.processes import HOST, InteropError
from hil.interop.scene import Side, play
from hil.interop.strict import Strict
from hil.interop.wire import Wire
from hil.parts.proxy import FaultProxy

SIDES: dict[str, Callable[..., Side]] = {"arthexis": Arthexis, "ocpp-rpc": Strict}
LONGEST_S = 300.0
REFUSALS_SHOWN = 5
STOPPED_BY_USER = 130


def main(argv: Sequence[str] | None = None) -> int:
    """0 only when each CSMS kept everything, and refused nothing."""
    parser = argparse.ArgumentParser(
        prog="make interop",
        description="The real agent before CSMSs of others; about a minute each.",
    )
    parser.add_argument("--only", choices=SIDES, action="append", help="only this CSMS")
    parser.add_argument("--root", default=".interop", help="where the foreign packages live")
    arguments = parser.parse_args(argv)
    try:
        return asyncio.run(_all(arguments.only or [*SIDES], Path(arguments.root).resolve()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interop: stopped; nothing was compared")
        return STOPPED_BY_USER


def say(text: str) -> None:
    print(text, flush=True)


async def _all(names: Sequence[str], root: Path) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    lines, status = [], 0
    for name in names:
        try:
            result = await _one(SIDES[name], root)
        except (InteropError, BenchError, ChargepointError, OSError) as error:
            say(f"interop: {name}: FAILED: {str(error) or f'not done after {LONGEST_S:g} s'}")
            status = 1
            continue
        for problem in result.problems:
            say(f"interop: FAILED: {problem}")
        status = 1 if result.problems else status
        lines.append(result.line)
    for line in lines:
        say(line)
    return status


async def _one(make: Callable[..., Side], root: Path) -> Result:
    """Whatever happens, all that was started has ended afterwards; logs outlive a failure."""
    directory = Path(tempfile.mkdtemp(prefix="interop-"))
    try:
        result = await _before(make, root, directory)
    except asyncio.CancelledError:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    if not result.problems:
        shutil.rmtree(directory, ignore_errors=True)
    return result


async def _before(make: Callable[..., Side], root: Path, directory: Path) -> Result:
    async with AsyncExitStack() as stack:
        side = make(root, directory, say)
        stack.push_async_callback(side.stop)
        port = await side.start()
        wire = Wire()
        proxy = await stack.enter_async_context(FaultProxy(port))
        proxy.on_bytes = wire.carried
        bench = DeskBench(
            say=lambda text: say(f"interop: {side.name}: {text}"),
            csms_url=f"ws://{HOST}:{proxy.port}{side.path}",
            password=side.password,
        )
        try:
            async with bench, asyncio.timeout(LONGEST_S):
                sold = await play(bench, side, proxy, wire)
                return compare(side.name, sold, await side.kept())
        except (BenchError, TimeoutError):
            for refused in (*wire.refused, *wire.refused_upgrades())[:REFUSALS_SHOWN]:
                say(f"interop: {side.name}: {refused}")
            raise


if __name__ == "__main__":
    sys.exit(main())
