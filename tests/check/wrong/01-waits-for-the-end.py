"""Nothing is answered before the client has ended its stream."""

import socket
import sys

listener = socket.socket()
listener.bind(("127.0.0.1", int(sys.argv[2])))
listener.listen()
print("listening on 127.0.0.1:" + sys.argv[2], flush=True)
while True:
    client, address = listener.accept()
    try:
        everything = b""
        while data := client.recv(4096):
            everything += data
        client.sendall(everything)
    except OSError:
        pass
    client.close()
