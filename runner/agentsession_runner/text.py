"""Bounds on what a runner says."""


def one_line(text: str, limit: int) -> str:
    """`text` without line breaks and control characters, at most `limit` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def clip(text: str, limit: int) -> tuple[str, bool]:
    """The first `limit` characters, and whether that cut something off."""
    return text[:limit], len(text) > limit
