# A client that resets its connection: SO_LINGER on, with 0 seconds.
import socket
import struct

client = socket.create_connection(("127.0.0.1", 7006))
client.setsockopt(
    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
)
client.close()
