# How much unsent data piles up in front of a slow reader, without and with TCP_NOTSENT_LOWAT.
import select
import socket
import struct
import time


def pile_up(lowat):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        reader, _ = listener.accept()
    with sender, reader:
        if lowat:
            sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, lowat)
        writable = select.poll()
        writable.register(sender, select.POLLOUT)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            if writable.poll(10):
                sender.send(bytes(4096), socket.MSG_DONTWAIT)
            reader.recv(1024)
        info = sender.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
        (unsent,) = struct.unpack_from("@I", info, 144)  # tcpi_notsent_bytes
        return f"{unsent / 1024:.0f} KiB unsent"


print("without:  ", pile_up(0))
print("16 384:   ", pile_up(16384))
