"""A TCP ping: what the network itself costs, with nothing on top of it.

`python -m globaltable.bench.echo serve HOST HOLD_MS` answers one connection, byte for byte, and
says its port first. `... echo ping HOST PORT COUNT` sends 8 bytes so many times, one after the
other, and prints the round trips in ms as JSON. HOLD_MS is for networks that delay nothing: the
answer is held back so long.
"""

import json
import socket
import sys
import time
from collections.abc import Sequence
from typing import Final

WARM_UP: Final = 5
_TIMEOUT_S: Final = 60.0


def serve(host: str, hold_ms: float) -> None:
    with socket.create_server((host, 0)) as server:
        server.settimeout(_TIMEOUT_S)
        print(server.getsockname()[1], flush=True)
        connection, _ = server.accept()
        with connection:
            connection.settimeout(_TIMEOUT_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := connection.recv(64):
                if hold_ms:
                    time.sleep(hold_ms / 1_000)
                connection.sendall(data)


def ping(host: str, port: int, count: int) -> list[float]:
    with socket.create_connection((host, port), _TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return [_once(connection, number) for number in range(WARM_UP + count)][WARM_UP:]


def _once(connection: socket.socket, number: int) -> float:
    sent = number.to_bytes(8, "big")
    began_ns = time.perf_counter_ns()
    connection.sendall(sent)
    got = connection.recv(64)
    took_ns = time.perf_counter_ns() - began_ns
    assert got == sent, (got, sent)
    return took_ns / 1e6


def main(words: Sequence[str]) -> None:
    match words:
        case ["serve", host, hold_ms]:
            serve(host, float(hold_ms))
        case ["ping", host, port, count]:
            print(json.dumps(ping(host, int(port), int(count))))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
