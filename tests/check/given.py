"""given.py: reads the course's options from the command line, so that a stage of your own is its
idea and nothing else:  from given import given  and then given.port and the others. It is yours."""

import argparse
import socket

DEFAULTS = {
    "host": "127.0.0.1",  # 01: an IPv4 address
    "port": 9999,  # 01
    "reuse_addr": True,  # 02
    "reuse_port": False,  # 02
    "backlog": socket.SOMAXCONN,  # 03
    "timeout": 0.0,  # 04: seconds; 0 is none
    "accept_timeout": 0.0,  # 04
    "user_timeout": 0.0,  # 04
    "recv_buffer": 0,  # 05: bytes; 0: leave it alone
    "send_buffer": 0,  # 05
    "keepalive": True,  # 06
    "keepalive_idle": 1800,  # 06: seconds
    "keepalive_interval": 15,  # 06: seconds
    "keepalive_count": 9,  # 06: questions
    "nodelay": True,  # 06
    "quickack": False,  # 06
    "fastopen": 0,  # 06: its queue; 0 is off
    "handler": "echo",  # 07: echo, upper, line, record
    "threads": True,  # 08
    "max_clients": 1000,  # 08
    "grace": 5.0,  # 08: seconds
    "loops": 1,  # 09
}


def read_options():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name, default in DEFAULTS.items():
        kind = (lambda word: word == "on") if isinstance(default, bool) else type(default)
        parser.add_argument("--" + name.replace("_", "-"), type=kind, default=default)
    return parser.parse_args()


given = read_options()
