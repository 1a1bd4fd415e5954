# Is TCP_QUICKACK inherited, and does it last?
import socket

TCP = socket.IPPROTO_TCP

listener = socket.create_server(("127.0.0.1", 0))
listener.setsockopt(TCP, socket.TCP_QUICKACK, 0)
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
print("listener set to 0: accepted socket has", server.getsockopt(TCP, socket.TCP_QUICKACK))

server.setsockopt(TCP, socket.TCP_QUICKACK, 1)
for _ in range(5):
    client.send(b"question")
    server.recv(100)
    server.send(b"answer")
    client.recv(100)
print("set to 1: after five messages it is", server.getsockopt(TCP, socket.TCP_QUICKACK))
