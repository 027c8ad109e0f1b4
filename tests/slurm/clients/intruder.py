# SPDX-License-Identifier: Apache-2.0
"""The client of another user's step, who tries all that he has at the ports of a victim's step.

    intruder.py PORT...

First each way is shown to lead into his own cluster: `own WAY ADDRESS`. Then each is tried at each
port, `refused N` at the end says how often in vain, and every success is a line `IN WAY PORT`.

    native   dtask's handshake, with the token of his own step
    zeros    the same with a token of zeros
    tls      Dask, with the TLS credentials of his own step (in a step of --dtask=dask)
    tcp      Dask without TLS (there, too)
"""

import asyncio
import json
import os
import socket
import struct
import sys

from dtask import _wire

LIMIT = 20.0  # seconds for one way at one port
QUESTION = b'{"t":"info"}'
DASK = os.environ["DTASK_ENGINE"] == "dask"


def native(address, token):
    """Whether what listens there says a word beyond the handshake. Its own proof is not looked at."""
    host, port = _wire.parse_address(address, "address")
    with socket.create_connection((host, port), LIMIT) as peer:
        hello = _wire.MAGIC + _wire.HELLO.pack(_wire.CLIENT, port) + os.urandom(32)
        try:
            peer.sendall(hello)
            answer = b""
            while len(answer) < 72:
                piece = peer.recv(72 - len(answer))
                if not piece:
                    return False
                answer += piece
            proof = _wire.mac(token, b"dtask initiate", hello, answer[8:40])
            peer.sendall(proof + struct.pack("<II", len(QUESTION), 0) + QUESTION)
            return bool(peer.recv(1))
        except (ConnectionError, socket.timeout):
            return False


async def dask_identity(address, encrypted):
    """Whether a Dask server there says who it is."""
    from distributed.core import rpc
    from distributed.security import Security

    security = Security() if encrypted else Security(require_encryption=False)
    scheme = "tls://" if encrypted else "tcp://"
    peer = rpc(
        scheme + address.split("://")[-1],
        timeout=5,
        connection_args=security.get_connection_args("client"),
    )
    try:
        return bool(await asyncio.wait_for(peer.identity(), LIMIT))
    except Exception:  # what Dask raises depends on what the other side speaks
        return False
    finally:
        await peer.close_rpc()


def ways(token):
    """Name and attempt of each; an attempt takes an address and says whether it is in."""

    async def in_thread(address, secret):
        return await asyncio.get_running_loop().run_in_executor(None, native, address, secret)

    yield "native", lambda address: in_thread(address, token)
    yield "zeros", lambda address: in_thread(address, bytes(32))
    if DASK:
        yield "tls", lambda address: dask_identity(address, True)
        yield "tcp", lambda address: dask_identity(address, False)


def own_addresses():
    """Of his own cluster: way and address."""
    with open(os.environ["DTASK_SCHEDULER_FILE"], encoding="utf-8") as file:
        content = json.load(file)
    yield "native", content.get("dtask", content)["address"]
    if DASK:
        from dask.distributed import Client

        with Client() as client:
            client.wait_for_workers(1, timeout=60)
            yield "tls", client.scheduler.address
            for address in client.scheduler_info()["workers"]:
                yield "tls", address


async def speaks_tcp():
    """Whether the way without TLS leads into a server that takes it, which his cluster has not."""
    import dask.config
    from distributed.core import Server

    with dask.config.set({"distributed.comm.require-encryption": False}):
        server = Server({})
        await server.listen("tcp://127.0.0.1:0")
    try:
        return await dask_identity(server.address, False)
    finally:
        await server.close()


async def main(ports):
    """Try everything; the exit code is 1 where anything of it led in."""
    token = _wire.parse_token(os.environ["DTASK_TOKEN"], "DTASK_TOKEN")
    attempts = dict(ways(token))
    loop = asyncio.get_running_loop()
    for way, address in await loop.run_in_executor(None, lambda: list(own_addresses())):
        if not await attempts[way](address):
            sys.exit(f"intruder: {way} does not lead into his own cluster at {address}")
        print("own", way, address)
    if DASK and not await speaks_tcp():
        sys.exit("intruder: tcp does not lead into a server of his own")
    tried = [(way, port) for way in attempts for port in ports]
    results = await asyncio.gather(*(attempts[way](f"127.0.0.1:{port}") for way, port in tried))
    for (way, port), inside in zip(tried, results):
        if inside:
            print("IN", way, port)
    print("refused", results.count(False), "of", len(results), flush=True)
    return int(any(results))


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
