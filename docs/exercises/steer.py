# Four listeners on one port, and a program in the kernel that chooses among them.
import ctypes
import socket
import struct
import time

SO_ATTACH_REUSEPORT_CBPF = 51  # from <asm-generic/socket.h>

listeners = []
for _ in range(4):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", 7009))
    listener.listen(200)
    listener.setblocking(False)
    listeners.append(listener)


def shares():
    clients = [socket.create_connection(("127.0.0.1", 7009)) for _ in range(100)]
    time.sleep(0.1)
    counts = []
    for listener in listeners:
        counts.append(0)
        try:
            while True:
                listener.accept()[0].close()
                counts[-1] += 1
        except BlockingIOError:
            pass
    for client in clients:
        client.close()
    return counts


print("by the hash:", shares())
# One instruction of classic BPF, "return 2": the third listener in the order of bind.
code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 2))
program = struct.pack("HP", 1, ctypes.addressof(code))
listeners[0].setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
print("by the program:", shares())
