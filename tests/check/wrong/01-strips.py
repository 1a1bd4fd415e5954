"""It takes off the end of the line."""

import socket
import sys

listener = socket.socket()
listener.bind(("127.0.0.1", int(sys.argv[2])))
listener.listen()
print("listening on 127.0.0.1:" + sys.argv[2], flush=True)
while True:
    client, address = listener.accept()
    try:
        while data := client.recv(4096):
            client.sendall(data.strip())
    except OSError:
        pass
    client.close()
