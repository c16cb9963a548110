"""Connections that a test can cut: a relay in a process of its own.

    relay.py NAME LISTEN TARGET [NAME LISTEN TARGET]...      LISTEN, TARGET: a port or a socket's path

Standard input takes `NAME pass` (as at the start), `NAME drop` (what is open is reset, what comes
is closed), `NAME hole` (nothing moves any more, nothing is closed; with `pass` it moves on) and
`NAME to TARGET` (for new connections), and answers each with a line. It ends with its input.
"""

import asyncio
import os
import subprocess
import sys

CHUNK = 1 << 16


class Way:
    def __init__(self, listen, target):
        self.listen, self.target = listen, target
        self.writers = set()
        self.flows = asyncio.Event()
        self.flows.set()
        self.is_dropped = False

    async def start(self):
        if self.listen.isdigit():
            await asyncio.start_server(self.on_client, "127.0.0.1", int(self.listen))
            return
        await asyncio.start_unix_server(self.on_client, self.listen)
        # The folder keeps strangers out; the server may be another user's.
        os.chmod(self.listen, 0o777)

    async def on_client(self, reader, writer):
        self.writers.add(writer)
        try:
            await self.flows.wait()
            if self.is_dropped:
                return
            far_reader, far_writer = await self.connect()
            self.writers.add(far_writer)
            try:
                await asyncio.gather(self.pump(reader, far_writer), self.pump(far_reader, writer))
            finally:
                self.end(far_writer)
        except OSError:
            pass
        finally:
            self.end(writer)

    async def connect(self):
        if self.target.isdigit():
            return await asyncio.open_connection("127.0.0.1", int(self.target))
        return await asyncio.open_unix_connection(self.target)

    async def pump(self, reader, writer):
        while data := await reader.read(CHUNK):
            await self.flows.wait()
            writer.write(data)
            await writer.drain()
        # Either end's end ends both.
        raise ConnectionResetError

    def end(self, writer):
        self.writers.discard(writer)
        writer.transport.abort()

    def do(self, verb, target=None):
        if verb == "to":
            self.target = target
            return
        self.is_dropped = verb == "drop"
        if verb == "hole":
            self.flows.clear()
        else:
            self.flows.set()
        if self.is_dropped:
            for writer in list(self.writers):
                self.end(writer)


async def serve(ways):
    for way in ways.values():
        await way.start()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        name, *order = line.split()
        ways[name].do(*order)
        print("ok", flush=True)
    # The kernel closes what is open; asyncio would warn of each connection.
    os._exit(0)


class Relay:
    """The process, from the test's side: {name: (listen, target)}."""

    def __init__(self, ways):
        words = [str(word) for name, ends in ways.items() for word in (name, *ends)]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, start_new_session=True)
        self._must_say("ready")

    def _must_say(self, word):
        said = self.process.stdout.readline().strip()
        assert said == word, f"the relay said {said!r}"

    def do(self, name, *order):
        print(name, *order, file=self.process.stdin, flush=True)
        self._must_say("ok")

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


if __name__ == "__main__":
    args = sys.argv[1:]
    asyncio.run(serve({n: Way(a, b) for n, a, b in zip(args[::3], args[1::3], args[2::3])}))
