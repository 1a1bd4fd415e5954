# A connection in TIME_WAIT, before and after one stray segment. Needs root in its network
# namespace, as a shell of build/wire has it: it sends a segment that it made itself.
import os
import socket
import struct

PORT = 7005
HERE = socket.inet_aton("127.0.0.1")


def show(when):
    state = os.popen(f"ss -Htan state time-wait 'sport = :{PORT}'").read()
    print(when, "TIME_WAIT" if state else "no TIME_WAIT")


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


with socket.create_server(("127.0.0.1", PORT)) as listener:
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
client_port = client.getsockname()[1]
server.close()
client.close()
show("before:")

# From the client's port, an ACK whose sequence number 1 is far outside of the window.
segment = struct.pack("!HHIIBBHHH", client_port, PORT, 1, 1, 5 << 4, 0x10, 1024, 0, 0)
pseudo_header = HERE + HERE + struct.pack("!HH", socket.IPPROTO_TCP, len(segment))
segment = segment[:16] + struct.pack("!H", checksum(pseudo_header + segment)) + segment[18:]
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
raw.sendto(segment, ("127.0.0.1", 0))
show("after: ")
