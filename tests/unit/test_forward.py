"""The client's side of the gateway, against a server on loopback that counts what it is asked."""

import asyncio

from slipway.serving.forward import TIMEOUT, Call, Deadlines, Replica

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Asked(Call):
    """A call that tells when it has ended."""

    ended: asyncio.Event

    def done(self) -> None:
        """Tell."""
        self.ended.set()


def call(path: str) -> Asked:
    """A request for a path."""
    head = f"GET {path} HTTP/1.1\r\n".encode()
    return Asked(asyncio.Event(), head=head, body=b"", limit=1000)


async def together(replica: Replica, *calls: Asked) -> None:
    """Send calls in one turn of the loop and wait for all of them."""
    for one in calls:
        replica.send(one, 5.0)
    await asyncio.gather(*(one.ended.wait() for one in calls))


def played(scene):
    """Run a scene with a replica of a counting server; the paths that the server was asked for."""
    seen: list[str] = []

    async def answer(reader, writer):
        while head := await reader.readline():
            seen.append(head.split()[1].decode())
            while (await reader.readline()).strip():
                pass
            writer.write(ANSWER)
        writer.close()

    async def main():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            replica = Replica(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", Deadlines())
            await together(replica, call("/warm"), call("/warm"), call("/warm"))
            await scene(replica)
            replica.close()

    asyncio.run(main())
    return seen[3:]


def test_calls_of_one_turn_are_all_answered_over_kept_connections():
    """Several requests posted in one turn of the loop each get their own answer."""

    async def scene(replica):
        calls = [call(f"/{n}") for n in range(3)]
        await together(replica, *calls)
        assert [(c.status, c.answer, c.fresh) for c in calls] == [(200, b"{}", False)] * 3

    assert sorted(played(scene)) == ["/0", "/1", "/2"]


def test_a_call_given_up_before_its_request_was_written_is_never_sent():
    """A request that waits for the end of the turn is dropped with its call; others are not."""

    async def scene(replica):
        first, gone, last = call("/first"), call("/gone"), call("/last")
        replica.send(first, 5.0)
        replica.send(gone, 5.0)
        gone.give_up(TIMEOUT)
        await together(replica, last)
        await first.ended.wait()
        assert (first.status, gone.fault, last.status) == (200, TIMEOUT, 200)

    assert sorted(played(scene)) == ["/first", "/last"]


def test_an_answer_that_comes_before_its_request_is_not_taken():
    """What a confused replica sends before it was asked must not reach the next user."""

    async def scene(replica):
        first, second = call("/first"), call("/second")
        replica.send(first, 5.0)
        replica.send(second, 5.0)
        second.connection.data_received(ANSWER.replace(b"{}", b"[]"))
        await asyncio.gather(first.ended.wait(), second.ended.wait())
        assert (second.status, second.answer, second.fresh) == (200, b"{}", True)

    assert sorted(played(scene)) == ["/first", "/second"]
