# A client that sends, and never reads what comes back.
import socket
import time

client = socket.socket()
client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
client.connect(("127.0.0.1", 9999))
client.sendall(bytes(20000))
time.sleep(60)
