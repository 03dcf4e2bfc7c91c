"""A proxy as it is usually written: aiohttp's server in front of aiohttp's client.

python benchmarks/gateway_aiohttp.py PORT WORKERS BACKEND BACKEND

The unit's hash sends one request in a hundred to the second backend. It has nothing else that a
gateway has: no checks, no log, no metrics.
"""

from __future__ import annotations

import os
import sys
import zlib

from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web

from slipway.serving.process import loop_factory

PORT, WORKERS, *BACKENDS = sys.argv[1:]


async def session(app: web.Application):
    """One pool of connections for the life of the server."""
    async with ClientSession(connector=TCPConnector(limit=0), cookie_jar=DummyCookieJar()) as one:
        app["session"] = one
        yield


async def pass_on(request: web.Request) -> web.Response:
    """Ask the backend of the unit."""
    unit = request.headers.get("x-slipway-unit", "").encode()
    backend = BACKENDS[zlib.crc32(unit) % 100 == 0]
    headers = {"content-type": request.headers.get("content-type", "")}
    url = f"http://{backend}{request.path_qs}"
    async with request.app["session"].request(
        request.method, url, data=await request.read(), headers=headers
    ) as answer:
        return web.Response(
            status=answer.status, body=await answer.read(), content_type=answer.content_type
        )


def main() -> None:
    """Serve, in as many processes as asked for."""
    for _ in range(int(WORKERS) - 1):
        if os.fork() == 0:
            break
    app = web.Application()
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", pass_on)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(PORT),
        reuse_port=True,
        access_log=None,
        print=None,
        loop=loop_factory()(),
    )


if __name__ == "__main__":
    main()
