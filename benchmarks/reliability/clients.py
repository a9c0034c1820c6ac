"""The case in which clients stop responding: freeze."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack

from benchmarks.processes import LOAD_CORE, BenchmarkError, Process

from .deployment import Deployment, Figure
from .peers import Observer

CLIENT = """
import asyncio, sys
from signalling.client import ResumingClient

async def main(url, token, room, kind):
    async with ResumingClient(url, token=token, proxy=None) as client:
        if kind == "resumable":
            await client.join(room)
        else:
            await client.request("join:room", {"roomCode": room})
        if kind != "silent":
            await client.request("ping")
        print(client.peer_id, flush=True)
        async for event in client:
            pass

asyncio.run(main(*sys.argv[1:]))
"""
KINDS = {
    "resumable": ("peer:away for a frozen resumable client", "peer:away"),
    "pinging": ("peer:left for a frozen client that pings", "peer:left"),
    "silent": ("peer:left for a frozen client that never pings", "peer:left"),
}


async def freeze(deployment: Deployment) -> list[Figure]:
    """Stop client processes with SIGSTOP and measure when another peer learns of it."""
    async with AsyncExitStack() as stack:
        room = deployment.room()
        client = await stack.enter_async_context(deployment.client(0))
        await client.join(room)
        observer = Observer(client)
        stack.push_async_callback(observer.close)
        frozen: dict[str, tuple[str, float]] = {}
        for kind in KINDS:
            process = _start_client(deployment, room, kind)
            stack.callback(process.stop)
            assert process.popen.stdout is not None
            peer_id = (await asyncio.to_thread(process.popen.stdout.readline)).strip()
            if not peer_id:
                raise BenchmarkError(f"a client did not join:\n{process.log_tail()}")
            # The client has just sent a ping, so the server waits for the longest time possible.
            process.popen.send_signal(signal.SIGSTOP)
            frozen[kind] = peer_id, time.monotonic()
        figures = []
        for kind, (name, event) in KINDS.items():
            peer_id, frozen_at = frozen[kind]
            received_at = await observer.receive(event, peer_id, within=90)
            figures.append(Figure(name, received_at - frozen_at, "s", 50))
        return figures


def _start_client(deployment: Deployment, room: str, kind: str) -> Process:
    command = [sys.executable, "-c", CLIENT, deployment.url(1), deployment.server.token, room, kind]
    log = deployment.stores.folder / f"frozen-{kind}.log"
    return Process(command, core=LOAD_CORE, log=log, stdout=subprocess.PIPE, text=True)
