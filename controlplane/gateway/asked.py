"""What a client asks for, as far as a gateway reads it.

Owns the checks that need no tokenizer; the agent does the rest. Refuses to copy prompts:
a request is forwarded as the bytes that came, with fields appended.
"""

from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from slacktide.v1 import inference_service_pb2
from slacktide.wire.errors import Refusal
from slacktide.wire.names import resource_id, resource_name

_MAX_REQUEST_ID_LENGTH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Where a request wants to go.

    Args:
        deployment: bare id.
        slo_class: as the client named it; "": none.
        raw: the request as it came.
    """

    deployment: str
    slo_class: str
    raw: bytes

    def addressed_to(self, replica: str, *, slo_class: str) -> bytes:
        """The request for one replica, in a class.

        Fields of a message appended to another overwrite: nothing of the prompt is written
        again.
        """
        name = resource_name("replicas", replica)
        fields = inference_service_pb2.GenerateRequest(replica=name, slo_class=slo_class)
        return self.raw + fields.SerializeToString()


def parse_asked(raw: bytes) -> Asked:
    """Reads a GenerateRequest.

    Raises:
        Refusal: INVALID_ARGUMENT, naming the field.
    """
    try:
        request = inference_service_pb2.GenerateRequest.FromString(raw)
    except DecodeError as error:
        raise _invalid("", "not a GenerateRequest; send one of slacktide.v1") from error
    try:
        deployment = resource_id("deployments", request.deployment)
    except ValueError as error:
        raise _invalid("deployment", str(error)) from error
    prompt = request.WhichOneof("prompt")
    if prompt is None:
        raise _invalid("prompt", "not set; set one of text, token_ids and conversation")
    if prompt == "token_ids" and not request.token_ids.ids:
        raise _invalid("token_ids", "empty; give at least one token")
    if prompt == "conversation" and not request.conversation.messages:
        raise _invalid("conversation", "empty; give at least one message")
    if request.sampling.max_tokens < 0:
        raise _invalid("sampling.max_tokens", f"{request.sampling.max_tokens}; must be > 0")
    if len(request.request_id) > _MAX_REQUEST_ID_LENGTH:
        raise _invalid(
            "request_id",
            f"{len(request.request_id)} characters; at most {_MAX_REQUEST_ID_LENGTH}",
        )
    return Asked(deployment=deployment, slo_class=request.slo_class, raw=raw)


def _invalid(field: str, description: str) -> Refusal:
    return Refusal(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="INVALID_REQUEST",
        message=f"request: {field}: {description}" if field else f"request: {description}",
        violations=[(field, description)],
    )
