# How many connections can a client open to one server, with four ports to choose from?
import socket

IP_BIND_ADDRESS_NO_PORT = 24  # from <linux/in.h>

held = []
try:
    while True:
        held.append(socket.create_connection(("127.0.0.1", 7007)))
except OSError as error:
    print(f"7007: {len(held)} connections, then: {error.strerror}")

other = socket.create_connection(("127.0.0.1", 7008))
print("7008: connected from port", other.getsockname()[1])

bound = socket.socket()
try:
    bound.bind(("127.0.0.1", 0))
except OSError as error:
    print(f"bind before connect: {error.strerror}")
bound.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
bound.bind(("127.0.0.1", 0))
bound.connect(("127.0.0.1", 7008))
print("7008: bound without a port, connected from", bound.getsockname()[1])
