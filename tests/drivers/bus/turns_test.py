import asyncio

from drivers.bus.turns import Rank, Turns


class Users:
    """Tasks that take the turn, and the order in which they had it."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.order: list[str] = []
        self.busy = 0

    def start(self, name: str, rank: Rank = Rank.OTHER) -> "asyncio.Task[None]":
        return asyncio.create_task(self._use(name, rank))

    async def _use(self, name: str, rank: Rank) -> None:
        async with self.turns.taken(rank):
            self.busy += 1
            assert self.busy == 1
            self.order.append(name)
            await asyncio.sleep(0)
            self.busy -= 1


async def test_an_order_overtakes_views_and_they_the_rest_but_nobody_the_one_that_is_on() -> None:
    users = Users()
    others = [users.start("a"), users.start("b"), users.start("c")]
    views = [users.start("view", Rank.VIEW), users.start("another", Rank.VIEW)]
    await asyncio.gather(*others, *views, users.start("stop", Rank.ORDER))
    assert users.order == ["a", "stop", "view", "another", "b", "c"]


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
