"""A process with a Redis layer, for ``test_processes``: plans in, what was heard out, a line each."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from signalling.layers import RedisChannelLayer

Heard = dict[str, list[list[Any]]]  # by channel: [run, sender, number]


async def take(layer: RedisChannelLayer, channel: str, deliver: Callable[[Any], None]) -> None:
    while True:
        deliver(await layer.receive(channel))


async def act(layer: RedisChannelLayer, run: int, sender: str, steps: list[str]) -> None:
    for number, step in enumerate(steps):
        message = {"type": "test", "run": run, "sender": sender, "number": number}
        if step == "pause":
            await asyncio.sleep(0)
        elif step == "group":
            await layer.group_send("all", message)
        else:
            await layer.send(step, message)


def say(what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def serve(url: str, prefix: str) -> None:
    layer = RedisChannelLayer(hosts=[url], prefix=prefix, capacity=100_000)
    heard: Heard = {}
    tasks: list[asyncio.Task[None]] = []

    def listener(channel: str) -> Callable[[Any], None]:
        heard[channel] = []
        return lambda message: heard[channel].append(
            [message["run"], message["sender"], message["number"]]
        )

    for kind in ("attached", "received"):
        channel = await layer.new_channel()
        if kind == "attached":
            layer.attach(channel, listener(channel))
        else:
            tasks.append(asyncio.ensure_future(take(layer, channel, listener(channel))))
        await layer.group_add("all", channel)
    say(list(heard))

    while line := await asyncio.to_thread(sys.stdin.readline):
        plan = json.loads(line)
        senders = plan["senders"].items()
        await asyncio.gather(*(act(layer, plan["run"], name, steps) for name, steps in senders))
        for _ in range(5_000):  # until all is here, or for five seconds
            if all(len(heard[name]) >= plan["expected"][name] for name in heard):
                break
            await asyncio.sleep(0.001)
        say(heard)
        for entries in heard.values():
            entries.clear()
    for task in tasks:
        task.cancel()
    await layer.close()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
