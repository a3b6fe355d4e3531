"""What the pods of the network tests run: `pod_program.py serve|call|names ...`. Prints one line for each event."""

import argparse
import socket
import struct
import sys
import threading

SO_ORIGINAL_DST = 80  # <linux/netfilter_ipv4.h>; the same number for IPv6


def original_destination(connection: socket.socket) -> str:
    if connection.family == socket.AF_INET6 and not connection.getsockname()[0].startswith("::ffff:"):
        raw = connection.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
        (port,) = struct.unpack_from("!H", raw, 2)
        return f"[{socket.inet_ntop(socket.AF_INET6, raw[8:24])}]:{port}"
    raw = connection.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, 16)
    (port,) = struct.unpack_from("!H", raw, 2)
    return f"{socket.inet_ntoa(raw[4:8])}:{port}"


def answer(connection: socket.socket, label: str) -> None:
    peer = connection.getpeername()[0].removeprefix("::ffff:")
    try:
        original = original_destination(connection)
    except OSError:
        original = "none"  # no rule touched the connection
    with connection:
        connection.sendall(f"{label} from={peer} to={original}\n".encode())
        while data := connection.recv(4096):
            connection.sendall(data)


def accept(listener: socket.socket, label: str) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection, label), daemon=True).start()


def answer_datagrams(port: int, label: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("0.0.0.0", port))
        print("ready", flush=True)
        while True:
            data, asker = udp.recvfrom(2048)
            udp.sendto(label.encode() + b" " + data, asker)


def serve(ports: list[str]) -> None:
    for item in ports:
        port, _, label = item.partition("=")
        listener = socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
        threading.Thread(target=accept, args=(listener, label or port), daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


def call(host: str, port: int, *, source: str | None, mark: int | None) -> None:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        if mark is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        if source is not None:
            connection.bind((source, 0))
        try:
            connection.connect(address)
            print(connection.makefile().readline().strip(), flush=True)
        except OSError as error:
            print(type(error).__name__, flush=True)


def names(wanted: list[str]) -> None:
    print(socket.gethostname(), flush=True)
    for name in wanted:
        try:
            found = sorted({entry[4][0] for entry in socket.getaddrinfo(name, 1, type=socket.SOCK_STREAM)})
            print(",".join(found), flush=True)
        except socket.gaierror as error:
            print(error.errno, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("serve", "udp", "call", "names"))
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--source")
    parser.add_argument("--mark", type=int)
    given = parser.parse_args()
    match given.what:
        case "serve":
            serve(given.rest)
        case "udp":
            answer_datagrams(int(given.rest[0]), given.rest[1])
        case "call":
            call(given.rest[0], int(given.rest[1]), source=given.source, mark=given.mark)
        case "names":
            names(given.rest)


if __name__ == "__main__":
    sys.exit(main())
