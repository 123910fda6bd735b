"""The two ways in which the runner says no."""


class RefusedError(Exception):
    """A call that is answered with an HTTP status and one line of text, which is safe to show."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class UnfitError(Exception):
    """The process cannot do its work: it ends with `code`, and the text, one line, is the termination message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
