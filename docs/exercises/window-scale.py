# Which window scale a server offers, with SO_RCVBUF set early, late, or both.
import socket

MB = 1 << 20


def scale(on_listener, on_accepted):
    with socket.socket() as listener:
        if on_listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, on_listener)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as client:
            accepted, _ = listener.accept()
            with accepted:
                if on_accepted:
                    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, on_accepted)
                # The seventh byte of struct tcp_info: the peer's scale in its lower half.
                return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[6] & 15


for sizes in (4 * MB, None), (None, 4 * MB), (8192, 4 * MB):
    print(f"listener {sizes[0]}, accepted socket {sizes[1]}: scale {scale(*sizes)}")
