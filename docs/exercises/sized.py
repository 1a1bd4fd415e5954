# A client of the handler 'sized': two messages in one write, then a length that is too large.
import socket
import struct

with socket.create_connection(("127.0.0.1", 9997)) as server:
    server.sendall(struct.pack("!I5sI3s", 5, b"hello", 3, b"abc"))
    print(server.recv(9, socket.MSG_WAITALL), server.recv(7, socket.MSG_WAITALL))
    server.sendall(struct.pack("!I", 0xFFFFFFFF))
    print(server.recv(1))
