"""`python -m controlplane.gateway`: flags, logging, loop."""

import argparse
import logging
import sys
from pathlib import Path

import uvloop
from slacktide.wire.errors import Refusal
from slacktide.wire.version import build_version

from controlplane.gateway.process import GatewaySettings, serve


def main() -> int:
    """Runs a gateway; 0 after a clean stop, 1 where it could not start."""
    flags = _parser().parse_args()
    logging.basicConfig(
        level=flags.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    settings = GatewaySettings(
        gateway=flags.gateway_id,
        listen=flags.listen,
        control_planes=flags.control_plane,
        table_file=flags.table_file,
        max_streams=flags.max_streams,
        connection_age_s=flags.connection_age,
        grace_s=flags.grace,
    )
    try:
        uvloop.run(serve(settings))
    except Refusal as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m controlplane.gateway",
        description="The clients' entry: routes requests to replicas and forwards their"
        " streams. Start a second one on the same port and stop the first with SIGTERM to"
        " replace it without losing a request.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--listen",
        type=_address,
        default="127.0.0.1:7401",
        metavar="HOST:PORT",
        help="port 0 picks one",
    )
    parser.add_argument(
        "--control-plane",
        type=_addresses,
        default="127.0.0.1:7400",
        metavar="HOST:PORT[,HOST:PORT]",
        help="control planes to learn routes from",
    )
    parser.add_argument(
        "--table-file",
        type=Path,
        required=True,
        metavar="PATH",
        help="keeps the last route table, to start from without a control plane",
    )
    parser.add_argument("--gateway-id", default="g1", help="name it reports")
    parser.add_argument(
        "--max-streams", type=int, default=4096, help="requests in flight before it sheds"
    )
    parser.add_argument(
        "--connection-age",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="clients' connections are renewed after about this long; a hand-over of the"
        " port waits for it",
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="how long streams may go on after a hand-over",
    )
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--version", action="version", version=build_version())
    return parser


def _addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(_address(part.strip()) for part in text.split(",") if part.strip())
    if not addresses:
        raise argparse.ArgumentTypeError("empty: give at least one HOST:PORT")
    return addresses


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT")
    return text


if __name__ == "__main__":
    sys.exit(main())
