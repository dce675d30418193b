"""The one error of this folder."""


class HardwareError(Exception):
    """A machine's hardware could not be read; the message is one line that says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def excerpt(text: str, limit: int = 60) -> str:
    """Return at most `limit` characters of foreign `text`, quoted and free of control characters."""
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return "'" + "".join(c if c.isprintable() else "?" for c in shown) + "'"
