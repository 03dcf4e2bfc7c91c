"""A model server that can be told to misbehave: in this process, or as one that can be killed.

python arm.py VALUE        serves on a free port, printed first, until it is ended
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import NamedTuple


class Asked(NamedTuple):
    """A request as an arm got it."""

    line: str
    headers: dict[str, str]
    body: bytes


class Arm:
    """One arm. It predicts its value, or does what ``mode`` says.

    Attributes:
        mode: ``good``; ``hang``, ``500``, ``close``, ``half`` (of a body), ``garbage`` (no HTTP),
            ``text`` (no JSON), ``deep`` and ``huge`` (JSON that Python can hardly hold), ``flood``
            (an endless body), a status such as ``204``, or the JSON text that stands for the
            prediction: ``null``, ``7``.
        asked: every request for a prediction.
        go: what a stream waits for after its first event.
    """

    def __init__(self, value: float) -> None:
        self.value, self.mode, self.port = value, "good", 0
        self.asked: list[Asked] = []
        self.go = asyncio.Event()

    async def listen(self) -> None:
        """Serve on a free port of loopback."""
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(await _read(reader), reader, writer):
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the gateway has gone, or the connection was kept for nothing
        finally:
            writer.close()

    async def _answer(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; False ends the connection."""
        self.asked.append(asked)
        mode = self.mode
        if mode == "hang":
            await reader.read()  # until the other side gives up
        elif mode == "half":
            writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{"predictions": [')
        elif mode == "garbage":
            writer.write(b"\x00\xff what is this?\r\n\r\n")
        if mode in ("hang", "half", "garbage", "close"):
            return False
        if mode == "flood":
            return await _flood(writer)
        if '"stream"' in asked.body.decode("latin-1"):
            return await self._stream(writer)
        writer.write(self._whole(asked, mode))
        return True

    def _whole(self, asked: Asked, mode: str) -> bytes:
        value = _HARD.get(mode, mode)
        value = str(self.value) if mode in ("good", "text", *_STATUSES) else value
        answer = f'{{"predictions": [{value}], "usage": {{"in": 2000, "out": 500}}}}'
        if asked.line.endswith("/infer"):
            tensor = '{"name": "predictions", "shape": [1], "datatype": "FP64", "data": [%s]}'
            answer = f'{{"model_name": "m", "outputs": [{tensor % value}]}}'
        elif "/chat/" in asked.line:
            answer = json.dumps(_completion("message", f"it is {self.value}"))
        status = _STATUSES.get(mode, "200 OK")
        if mode in ("204", "304"):
            return f"HTTP/1.1 {status}\r\n\r\n".encode()
        body = ("no JSON at all" if mode == "text" else answer).encode()
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    async def _stream(self, writer: asyncio.StreamWriter) -> bool:
        """Server-sent events of an OpenAI-shaped answer, the first of them long before the rest."""
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
        writer.write(b"transfer-encoding: chunked\r\n\r\n")
        words = [_completion("delta", word) for word in ("it ", "is ", str(self.value))]
        usage = {**_completion("delta", ""), "choices": [], "usage": _USAGE}
        for at, event in enumerate([*words, usage, "[DONE]"]):
            text = event if isinstance(event, str) else json.dumps(event)
            data = f"data: {text}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
            if at == 0:
                await self.go.wait()
        writer.write(b"0\r\n\r\n")
        return True


_STATUSES = {
    "500": "500 Out Of Luck",
    "204": "204 No Content",
    "304": "304 Not Modified",
    "460": "460 Client Left",
}
_HARD = {"deep": "[" * 5000 + "]" * 5000, "huge": "1" + "0" * 400}


async def _flood(writer: asyncio.StreamWriter) -> bool:
    """A body without end, as fast as it is taken."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n%b\r\n" % bytes(65536))
        await writer.drain()


_USAGE = {"prompt_tokens": 2000, "completion_tokens": 500, "total_tokens": 2500}


def _completion(kind: str, text: str) -> dict[str, object]:
    choice = {"index": 0, kind: {"role": "assistant", "content": text}, "finish_reason": None}
    shape = "chat.completion" + (".chunk" if kind == "delta" else "")
    told = {"id": "c1", "object": shape, "created": 1, "model": "words", "choices": [choice]}
    return told if kind == "delta" else {**told, "usage": _USAGE}


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(head[0].removesuffix(" HTTP/1.1"), headers, body)


class Farm:
    """Arms in this process, on a thread of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            self._end = asyncio.Event()
            runner.run(self._end.wait())

    def arm(self, value: float = 0.5, mode: str = "good") -> Arm:
        """A fresh arm that predicts a value."""
        arm = Arm(value)
        arm.mode = mode
        asyncio.run_coroutine_threadsafe(arm.listen(), self._loop).result(10)
        return arm

    def let_go(self, arm: Arm) -> None:
        """Have an arm's streams go on."""
        self._loop.call_soon_threadsafe(arm.go.set)

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)


async def _main(value: float) -> None:
    arm = Arm(value)
    await arm.listen()
    sys.stdout.write(f"{arm.port}\n")
    sys.stdout.flush()
    await arm.server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(float(sys.argv[1])))
