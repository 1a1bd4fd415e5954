# A client that sends a byte now and then, faster than the server's time-out.
import socket
import sys
import time

client = socket.create_connection(("127.0.0.1", 9999))
start = time.monotonic()
for _ in range(int(sys.argv[1])):
    client.send(b"x")
    time.sleep(0.3)
seconds = time.monotonic() - start
print(f"after {seconds:.1f} s {len(client.recv(100))} bytes have come back")
