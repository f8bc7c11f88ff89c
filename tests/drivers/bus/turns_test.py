import asyncio

from drivers.bus.turns import Turns


class Users:
    """Tasks that take the turn, and the order in which they had it."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.order: list[str] = []
        self.busy = 0

    def start(self, name: str, urgent: bool = False) -> "asyncio.Task[None]":
        return asyncio.create_task(self._use(name, urgent))

    async def _use(self, name: str, urgent: bool) -> None:
        async with self.turns.taken(urgent):
            self.busy += 1
            assert self.busy == 1
            self.order.append(name)
            await asyncio.sleep(0)
            self.busy -= 1


async def test_an_urgent_one_overtakes_those_that_wait_but_not_the_one_that_is_on() -> None:
    users = Users()
    tasks = [users.start("a"), users.start("b"), users.start("c"), users.start("stop", True)]
    await asyncio.gather(*tasks)
    assert users.order == ["a", "stop", "b", "c"]


async def test_who_is_cancelled_while_waiting_holds_up_nobody() -> None:
    users = Users()
    first, second, third = (users.start(name) for name in "abc")
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert users.order == ["a", "c"]


async def test_who_is_cancelled_when_it_was_just_given_the_turn_passes_it_on() -> None:
    users = Users()
    first, second, third = (users.start(name) for name in "abc")
    while not first.done():  # noqa: ASYNC110 - the very moment counts, no event tells it
        await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, third, return_exceptions=True)
    assert users.order[-1] == "c"
    assert await asyncio.wait_for(users.start("d"), 5) is None
