# Replaces a running server ten times by a new one, while clients come and go.
import signal
import socket
import subprocess
import sys
import threading
import time

PORT = 9990
SERVER = [f"build/{sys.argv[1]}/server", "-q", f"--port={PORT}", "--reuse-port=on"]
replies, resets, over = [], [], threading.Event()


def start():
    server = subprocess.Popen(SERVER, stdout=subprocess.PIPE)
    server.stdout.readline()
    return server


def come_and_go():
    while not over.is_set():
        try:
            with socket.create_connection(("127.0.0.1", PORT)) as server:
                server.sendall(b"Hello")
                replies.append(server.recv(5))
        except ConnectionError:
            resets.append(1)


old = start()
clients = [threading.Thread(target=come_and_go) for _ in range(4)]
for client in clients:
    client.start()
for _ in range(10):
    time.sleep(0.1)
    new = start()
    old.send_signal(signal.SIGTERM)
    old.wait()
    old = new
over.set()
for client in clients:
    client.join()
old.send_signal(signal.SIGTERM)
old.wait()
print("replies:", replies.count(b"Hello"), "empty:", replies.count(b""), "resets:", len(resets))
