# What TCP_CORK holds back, and for how long.
import socket
import time


def corked(size):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        start = time.monotonic()
        client.send(bytes(size))
        early = received = 0
        while received < size:
            received += len(server.recv(size))
            if time.monotonic() - start < 0.1:
                early = received
        print(f"of {size} bytes {early} at once, the last after {time.monotonic() - start:.1f} s")


corked(10)
corked(200_000)
