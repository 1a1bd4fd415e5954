# A client that sends a byte now and then, faster than the server's time-out.
import socket
import time

client = socket.create_connection(("127.0.0.1", 9999))
start = time.monotonic()
try:
    for _ in range(24):
        client.send(b"x")
        time.sleep(0.1)
    end = f"still connected, {len(client.recv(100))} bytes have come back"
except OSError as error:
    end = error.strerror
print(f"after {time.monotonic() - start:.1f} s: {end}")
