"""What can go wrong in talking to an engine.

EngineError
├── EngineUnavailableError   no answer: not started, died, timed out; may pass elsewhere
└── EngineRefusedError       an answer that says no, with its HTTP status
"""


class EngineError(Exception):
    """Root of the tree."""


class EngineUnavailableError(EngineError):
    """The engine gave no (complete) answer. The same request may succeed elsewhere."""


class EngineRefusedError(EngineError):
    """The engine answered with an error.

    Args:
        status: HTTP status, 400 to 599.
        message: the engine's sentence.
    """

    def __init__(self, *, status: int, message: str) -> None:
        super().__init__(f"engine answered {status}: {message}")
        self.status = status
        self.message = message
