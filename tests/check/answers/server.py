#+ 01.0 01.99
"""Stage 01, an echo server: what a client sends, it gets back.

  WATCH=1 make check-01   in a second terminal: what it does already, and what comes next
  make hint-01            helps, a little at a time

The comments are the calls that docs/01-basic.md has, in the same order.
"""

#.
#+ 09.1
import selectors
#.
#+ 08.5
import signal
#.
import socket
#+ 04.1
import struct
#.
import sys
#+ 08.1
import threading
#.
#+ 08.5
import time
#.
#+ 02.0
from given import given
#.

#+ 01.0 02.0
# The port, from the command line: server.py --port 8080
port = int(sys.argv[2]) if sys.argv[1:2] == ["--port"] else 9999
#.
#+ 02.0
port = given.port
#.
#+ 01.0 01.1
print("port", port)
#.

#+ 04.1 09.1

def set_time(connection, option, seconds):
    """How long recv or send (or, on a listener, accept) waits; 0 is for ever."""
    whole = int(seconds)
    time = struct.pack("@ll", whole, int((seconds - whole) * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, option, time)

#.
#+ 07.1

def upper(data):
    return bytes(b - 32 if 97 <= b <= 122 else b for b in data)


#.
#+ 07.2
def lines(data):
    """Answers the whole lines at the front, and returns what is left too."""
    end = data.rfind(b"\n") + 1
    return upper(data[:end]), data[end:]


#.
#+ 07.4
def records(data):
    """Of a record only the text is put in upper case: bytes of a number are no letters."""
    end = len(data) - len(data) % 22
    answer = bytearray(data[:end])
    for at in range(4, end, 22):
        answer[at : at + 2] = upper(answer[at : at + 2])
    return bytes(answer), data[end:]


#.
#+ 07.1
def handle(data):
    """Answers the whole messages at the front; returns the answer, and the rest."""
#.
#+ 07.1
    if given.handler == "upper":
        return upper(data), b""
#.
#+ 07.2
    if given.handler == "line":
        return lines(data)
#.
#+ 07.4
    if given.handler == "record":
        return records(data)
#.
#+ 07.1
    return data, b""

#.
#+ 01.2 01.3

def serve(client):
    data = client.recv(4096)
    if data:
        client.sendall(data)

#.
#+ 01.3 07.1

def serve(client):
    """Answers one client until it has ended its stream, or is gone."""
#.
#+ 06.5 07.1
    while True:
        # It does not stay set, so it comes before each recv.
        if given.quickack:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        data = client.recv(4096)
        if not data:
            break
        client.sendall(data)
#.
#+ 01.3 06.5
    while data := client.recv(4096):
        # send() may take a part of it; sendall() goes on until all is sent.
        client.sendall(data)
#.
#+ 01.6 07.1
    # The server's half ends behind the last answer.
    client.shutdown(socket.SHUT_WR)
#.
#+ 01.3 07.1

#.
#+ 07.1 09.1

def serve(client):
    """Answers one client until it has ended its stream, or is gone. What is left of a message is
    kept until the rest of it comes."""
    held = b""
    while True:
        if given.quickack:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        data = client.recv(4096)
        if not data:
            break
        answer, held = handle(held + data)
        client.sendall(answer)
#.
#+ 07.3 09.1
        if len(held) >= 8192:
            return  # a message that does not end
#.
#+ 07.2 09.1
    if given.handler == "line":  # the end of the stream ends the last line too
        client.sendall(upper(held))
#.
#+ 07.1 09.1
    client.shutdown(socket.SHUT_WR)

#.
#+ 09.1

class Client:
    """What it has sent and was not answered, and what was not sent to it yet."""

    def __init__(self, connection):
        self.connection = connection
        self.held = self.unsent = b""
        self.ended = False
        self.came_on = time.monotonic()


class Loop:
    def __init__(self, listener):
        self.listener = listener
        self.selector = selectors.DefaultSelector()
        self.clients = set()
        self.listening = False
        self.listen(True)

    def listen(self, wanted):
        """Not while there are as many clients as there may be."""
        if wanted and not self.listening:
            self.selector.register(self.listener, selectors.EVENT_READ)
        if not wanted and self.listening:
            self.selector.unregister(self.listener)
        self.listening = wanted

    def greet(self):
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        client = Client(connection)
        self.clients.add(client)
        self.selector.register(connection, selectors.EVENT_READ, client)
        self.listen(len(self.clients) < given.max_clients // given.loops)

    def leave(self, client):
        self.selector.unregister(client.connection)
        client.connection.close()
        self.clients.discard(client)
        self.listen(not stopping)

    def receive_some(self, client):
        if given.quickack:
            client.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        data = client.connection.recv(4096)
        client.ended = not data
        client.unsent, client.held = handle(client.held + data)
        if client.ended and given.handler == "line":
            client.unsent = upper(client.held)
        if len(client.held) >= 8192:
            raise OSError("a message that does not end")

    def serve(self, client):
        """One of a client's events. While something is unsent nothing more is received: TCP's
        window then holds up a client that does not read."""
        try:
            if not client.unsent:
                self.receive_some(client)
            if client.unsent:
                client.unsent = client.unsent[client.connection.send(client.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.leave(client)
            return
        if client.ended and not client.unsent:
            self.leave(client)
            return
        client.came_on = time.monotonic()
        wanted = selectors.EVENT_WRITE if client.unsent else selectors.EVENT_READ
        self.selector.modify(client.connection, wanted, client)

    def run(self):
        deadline = None
        while deadline is None or (self.clients and time.monotonic() < deadline):
            for key, _ in self.selector.select(0.1):
                if key.data is None:
                    self.greet()
                else:
                    self.serve(key.data)
            now = time.monotonic()
            if stopping and deadline is None:
                deadline = now + given.grace
                self.listen(False)
                self.listener.close()
            if given.timeout:
                for client in [c for c in self.clients if now - c.came_on > given.timeout]:
                    self.leave(client)

#.
#+ 08.3 09.0

places = threading.Semaphore(given.max_clients)  # for clients, that are still free

#.
#+ 08.1 09.0

def client_thread(client):
    with client:
        try:
            serve(client)
        except OSError:
            pass
#.
#+ 08.3 09.0
    places.release()
#.
#+ 08.1 09.0

#.
#+ 08.5
stopping = False


def stop(number, frame):
    global stopping
    stopping = True
#.
#+ 08.5 09.0
    listener.shutdown(socket.SHUT_RDWR)  # ends the waiting in accept
    places.release()  # or for a place
#.
#+ 08.5

#.
#+ 01.0 09.1
# socket(2): ask for a TCP socket
#.
#+ 01.1 09.1
listener = socket.socket()
#.
#+ 02.1 02.2
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
#.
#+ 02.2 09.1
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, given.reuse_addr)
#.
#+ 02.3 09.1
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, given.reuse_port)
#.
#+ 04.5 09.1
set_time(listener, socket.SO_RCVTIMEO, given.accept_timeout)
#.
#+ 04.6 09.1
if given.user_timeout:
    milliseconds = int(given.user_timeout * 1000)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
#.
#+ 05.1 09.1
if given.recv_buffer:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, given.recv_buffer)
#.
#+ 05.2 09.1
if given.send_buffer:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, given.send_buffer)
#.
#+ 06.1 09.1
listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, given.keepalive)
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, given.keepalive_idle)
#.
#+ 06.3 09.1
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, given.keepalive_interval)
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, given.keepalive_count)
#.
#+ 06.4 09.1
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, given.nodelay)
#.
#+ 06.6 09.1
if given.fastopen:
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, given.fastopen)
#.
#+ 01.0 09.1

# bind(2): give it the address 127.0.0.1 and the port
#.
#+ 01.1 09.1
listener.bind(("127.0.0.1", port))
#.
#+ 01.0 09.1

# listen(2): have the kernel take connections for it
#.
#+ 01.1 03.1
listener.listen()
#.
#+ 03.1 09.1
listener.listen(given.backlog)
#.
#+ 01.1 09.1
print(f"listening on 127.0.0.1:{port}", flush=True)
#.
#+ 08.5 09.0
signal.signal(signal.SIGTERM, stop)
#.
#+ 01.0 09.1

# accept(2): take the next client, again and again, and for each of them
#.
#+ 01.1 04.1
while True:
    client, address = listener.accept()
#.
#+ 04.1 08.1
while True:
    try:
        client, address = listener.accept()
    except OSError:
        continue
#.
#+ 04.4 08.1
    # Always set, 0 too: an accepted socket inherits the listener's.
    set_time(client, socket.SO_SNDTIMEO, given.timeout)
#.
#+ 04.1 08.1
    set_time(client, socket.SO_RCVTIMEO, given.timeout)
#.
#+ 01.0 08.1
#   recv(2): what it has sent, until it has ended its stream
#   send(2): each piece back, all of it
#   close(2): when it has gone
#.
#+ 01.1 01.2
    client.close()
#.
#+ 01.2 01.8
    with client:
        serve(client)
#.
#+ 01.8 08.1
    with client:
        try:
            serve(client)
        except OSError:
            pass  # this client is gone, and the next one comes
#.
#+ 08.1 08.5
while True:
#.
#+ 08.5 09.0
while not stopping:
#.
#+ 08.3 09.0
    places.acquire()
#.
#+ 08.1 09.0
    try:
        client, address = listener.accept()
    except OSError:
#.
#+ 08.3 09.0
        places.release()
#.
#+ 08.1 09.0
        continue
    set_time(client, socket.SO_SNDTIMEO, given.timeout)
    set_time(client, socket.SO_RCVTIMEO, given.timeout)
    threading.Thread(target=client_thread, args=[client], daemon=True).start()
#.
#+ 08.5 09.0
# All places are free again, and so is the one that the stop has added: nobody is left.
deadline = time.monotonic() + given.grace
for _ in range(given.max_clients + 1):
    if not places.acquire(timeout=max(0, deadline - time.monotonic())):
        break
#.
#+ 09.0 09.1
while True:
    try:
        client, address = listener.accept()
    except OSError:
        continue
    set_time(client, socket.SO_SNDTIMEO, given.timeout)
    set_time(client, socket.SO_RCVTIMEO, given.timeout)
    with client:
        try:
            serve(client)
        except OSError:
            pass
#.
#+ 09.1
def listener_of_a_loop():
    """A listener, non-blocking; with several loops each has one, on the same port."""
    listener = socket.socket()
    listener.setblocking(False)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, given.reuse_addr)
#.
#+ 09.1 09.5
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, given.reuse_port)
#.
#+ 09.5
    shared = given.reuse_port or given.loops > 1
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
#.
#+ 09.1
    tcp = socket.IPPROTO_TCP
    if given.user_timeout:
        listener.setsockopt(tcp, socket.TCP_USER_TIMEOUT, int(given.user_timeout * 1000))
    if given.recv_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, given.recv_buffer)
    if given.send_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, given.send_buffer)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, given.keepalive)
    listener.setsockopt(tcp, socket.TCP_KEEPIDLE, given.keepalive_idle)
    listener.setsockopt(tcp, socket.TCP_KEEPINTVL, given.keepalive_interval)
    listener.setsockopt(tcp, socket.TCP_KEEPCNT, given.keepalive_count)
    listener.setsockopt(tcp, socket.TCP_NODELAY, given.nodelay)
    if given.fastopen:
        listener.setsockopt(tcp, socket.TCP_FASTOPEN, given.fastopen)
    listener.bind(("127.0.0.1", port))
    listener.listen(given.backlog)
    return listener


signal.signal(signal.SIGTERM, stop)
#.
#+ 09.5
others = [Loop(listener_of_a_loop()) for _ in range(given.loops - 1)]
#.
#+ 09.1
loop = Loop(listener_of_a_loop())
print(f"listening on 127.0.0.1:{port}", flush=True)
#.
#+ 09.5
threads = [threading.Thread(target=other.run) for other in others]
for thread in threads:
    thread.start()
#.
#+ 09.1
loop.run()
#.
#+ 09.5
for thread in threads:
    thread.join()
#.
