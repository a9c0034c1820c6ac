"""A process with a Redis layer, for ``test_processes``.

Reads plans from standard input and writes the received messages, one JSON document a line.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from signalling.layers import RedisChannelLayer
from tests.patience import PATIENCE

Received = dict[str, list[list[Any]]]  # by channel: [run, sender, number]


async def receive(layer: RedisChannelLayer, channel: str, deliver: Callable[[Any], None]) -> None:
    while True:
        deliver(await layer.receive(channel))


async def run_plan(layer: RedisChannelLayer, run: int, sender: str, steps: list[str]) -> None:
    for number, step in enumerate(steps):
        message = {"type": "test", "run": run, "sender": sender, "number": number}
        if step == "pause":
            await asyncio.sleep(0)
        elif step == "group":
            await layer.group_send("all", message)
        else:
            await layer.send(step, message)


def write(data: Any) -> None:
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()


async def serve(url: str, prefix: str) -> None:
    layer = RedisChannelLayer(hosts=[url], prefix=prefix, capacity=100_000, timeout=PATIENCE)
    received: Received = {}
    tasks: list[asyncio.Task[None]] = []

    def recorder(channel: str) -> Callable[[Any], None]:
        received[channel] = []
        return lambda message: received[channel].append(
            [message["run"], message["sender"], message["number"]]
        )

    for kind in ("attached", "received"):
        channel = await layer.new_channel()
        if kind == "attached":
            layer.attach(channel, recorder(channel))
        else:
            tasks.append(asyncio.ensure_future(receive(layer, channel, recorder(channel))))
        await layer.group_add("all", channel)
    write(list(received))

    while line := await asyncio.to_thread(sys.stdin.readline):
        plan = json.loads(line)
        senders = plan["senders"].items()
        await asyncio.gather(
            *(run_plan(layer, plan["run"], name, steps) for name, steps in senders)
        )
        for _ in range(5_000):  # until all have arrived, for at most 5 seconds
            if all(len(received[name]) >= plan["expected"][name] for name in received):
                break
            await asyncio.sleep(0.001)
        write(received)
        for entries in received.values():
            entries.clear()
    for task in tasks:
        task.cancel()
    await layer.close()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
