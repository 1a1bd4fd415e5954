"""Stage 01: a listening socket, and one connection after another on it."""

import pytest
from course import check_exchange, receive
from every_stage import EveryStage

STAGE = "01-basic"


class TestEveryStage(EveryStage):
    pass


@pytest.mark.idea
def test_two_sends_come_back_as_one_stream(start):
    server = start()
    with server.connect() as connection:
        check_exchange(connection, b"one")
        connection.sendall(b"two")
        connection.sendall(b"three")
        assert receive(connection, 8) == b"twothree"


@pytest.mark.idea
def test_the_next_client_waits_for_the_first(start):
    server = start()
    with server.connect() as second_to_come:
        check_exchange(second_to_come, b"first")
        with server.connect() as waiting:
            waiting.sendall(b"second")
            second_to_come.close()
            assert receive(waiting, 6) == b"second"
