# Four loops wait for one listener. How many does a connection wake?
import select
import socket
import threading
import time


def woken(flags):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        counts = []

        def wait():
            with select.epoll() as epoll:
                epoll.register(listener, select.EPOLLIN | flags)
                waiting.release()
                counts.append(len(epoll.poll(1)))

        waiting = threading.Semaphore(0)
        loops = [threading.Thread(target=wait) for _ in range(4)]
        for loop in loops:
            loop.start()
            waiting.acquire()
        time.sleep(0.2)  # until they wait: no event tells
        with socket.create_connection(listener.getsockname()):
            for loop in loops:
                loop.join()
        return sum(counts)


print("EPOLLIN:               ", woken(0), "of 4")
print("EPOLLIN|EPOLLEXCLUSIVE:", woken(select.EPOLLEXCLUSIVE), "of 4")
