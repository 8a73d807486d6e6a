"""Runs a command in its own namespaces, which ``unshare`` has made: with loopback, and a home that cannot be written.

unshare --map-root-user --net --mount python alone.py HOME COMMAND…
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys

_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 0x1, 0x40  # linux/sockios.h, linux/if.h

if __name__ == "__main__":
    home, *command = sys.argv[1:]
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP | _IFF_RUNNING))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", home], check=True)
    os.environ["HOME"] = home
    for name in ("FACEVEIL_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        os.environ.pop(name, None)
    os.execvp(command[0], command)  # noqa: S606  the command that was given
