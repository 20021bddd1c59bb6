"""The last accepted assignment, on disk.

Owns one file that is replaced atomically: what is accepted is durable before anyone acts
on it, and an agent can start from it without a control plane. Refuses an assignment older
than the stored one, and a file whose digest does not match: it is set aside, never used.
Methods block; call them off the event loop.
"""

import hashlib
import logging
import os
from pathlib import Path

from google.protobuf.message import DecodeError
from slacktide.v1 import agent_service_pb2

_log = logging.getLogger(__name__)

_MAGIC = b"slacktide-assignment-1"


class StaleAssignmentError(Exception):
    """An assignment with a lower (epoch, revision) than the stored one."""


class AssignmentStore:
    """Keeps the newest NodeAssignment in `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stored: agent_service_pb2.NodeAssignment | None = None

    def load(self) -> agent_service_pb2.NodeAssignment | None:
        """Reads the file; None if there is none or it is damaged."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        head, _, body = content.partition(b"\n")
        message = agent_service_pb2.NodeAssignment()
        try:
            if head != _head(body):
                raise DecodeError("digest does not match")
            message.ParseFromString(body)
        except DecodeError as error:
            aside = self._path.with_suffix(".damaged")
            self._path.replace(aside)
            _log.error("assignment_damaged file=%s set_aside=%s cause=%s", self._path, aside, error)
            return None
        self._stored = message
        return message

    def accept(self, message: agent_service_pb2.NodeAssignment) -> None:
        """Stores the assignment durably.

        Raises:
            StaleAssignmentError: it is older than the stored one.
            OSError: it could not be written; the stored one stays.
        """
        stored = self._stored
        if stored is not None:
            observed = (message.epoch, message.revision)
            held = (stored.epoch, stored.revision)
            if observed < held:
                raise StaleAssignmentError(
                    f"assignment (epoch, revision) {observed}: held is {held}; a control plane"
                    " that is no longer leader may have sent it"
                )
        body = message.SerializeToString(deterministic=True)
        self._replace(_head(body) + b"\n" + body)
        self._stored = message

    def _replace(self, content: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".draft")
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _head(body: bytes) -> bytes:
    return _MAGIC + b" " + hashlib.sha256(body).hexdigest().encode()
