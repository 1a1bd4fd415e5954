# Sends "Hello", its second "l" as urgent data.
import socket

client = socket.create_connection(("127.0.0.1", 9999))
client.send(b"Hel")
client.send(b"l", socket.MSG_OOB)
client.send(b"o")
client.shutdown(socket.SHUT_WR)
print(client.makefile("rb").read())
