"""What can go wrong while talking to Ollama, in one line each."""

from __future__ import annotations


class ApiError(Exception):
    """Base of all; its text is one line that says what was asked and what came back."""


class Unreachable(ApiError):
    """No connection, or it broke, or no answer in time."""


class Refused(ApiError):
    """The server answered with an error, as a status or inside a stream."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status, or None for an error line inside a stream that began with 200."""
