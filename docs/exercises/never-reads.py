# A client that sends and never reads the replies. How long does the server hold the connection?
import socket
import sys
import time

with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as server:
    server.setblocking(False)
    sent, last = 0, time.monotonic()
    while time.monotonic() - last < 0.5:  # nothing more goes: all buffers are full
        try:
            sent += server.send(bytes(1 << 16))
            last = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
        except ConnectionError:
            break
    time.sleep(3)
    try:
        server.send(b"x")
    except BlockingIOError:
        print("3 s later: the server holds the connection")
    except ConnectionError as error:
        print("3 s later:", error.strerror)
