# A receive buffer of a size that was set, and one that was given back to the kernel's tuning.
import socket
import threading

SO_BUF_LOCK = 72
SIZE = 50_000_000


def grown(given_back):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        if given_back:
            server.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, 0)
        sender = threading.Thread(target=client.sendall, args=[bytes(SIZE)])
        sender.start()
        received = 0
        while received < SIZE:
            received += len(server.recv(1 << 20))
        sender.join()
        return server.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


print("set:                 ", grown(False))
print("set, then given back:", grown(True))
