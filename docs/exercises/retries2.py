# How often is data sent again with tcp_retries2 = 2? To be run as
#     build/wire --delay 1ms -- python3 docs/exercises/retries2.py
import ctypes
import os
import socket
import struct
import subprocess
import sys
import time

SERVER = ("10.0.0.2", 7008)
SO_ATTACH_FILTER = 26
NOTHING = ctypes.create_string_buffer(struct.pack("@HBBI", 0x06, 0, 0, 0))  # BPF: "return 0"


def serve():
    listener = socket.create_server(SERVER)
    print("ready", flush=True)
    connection, _ = listener.accept()
    connection.send(connection.recv(1))
    # From here on the kernel drops every segment that comes for this connection.
    program = struct.pack("@HP", 1, ctypes.addressof(NOTHING))
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    connection.send(b"!")
    time.sleep(60)


def connect():
    with open("/proc/sys/net/ipv4/tcp_retries2", "w", encoding="ascii") as setting:
        setting.write("2")
    with socket.create_connection(SERVER) as connection:
        connection.send(b"?")
        while connection.recv(1) != b"!":
            pass
        start = time.monotonic()
        connection.send(b"?")
        try:
            connection.recv(1)
        except OSError as error:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            (again,) = struct.unpack_from("@I", info, 100)
            print(f"sent again {again} times; after {time.monotonic() - start:.1f} s: {error}")


if sys.argv[1:] == ["server"]:
    serve()
there = ["build/wire", "--join", str(os.getppid()), "--", sys.executable, __file__, "server"]
with subprocess.Popen(there, stdout=subprocess.PIPE) as server:
    server.stdout.readline()
    connect()
    server.kill()
