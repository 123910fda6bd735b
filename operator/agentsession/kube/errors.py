"""What the API server can answer, as exceptions that say what a caller may do next."""

import pydantic

from agentsession.kube.objects import KubeObject


class ExpectedError(Exception):
    """Somebody else did not do their part, and may next time: tried again, and told in one line."""


class ApiError(ExpectedError):
    """A request that the API server refused, or that did not come back.

    status: HTTP status, or 0 where there was no answer. reason: metav1.StatusReason, such as "Conflict".
    retry_after: seconds that the server asks to wait, or None.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{message} ({status} {reason})" if status else f"{message} ({reason})")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class UnauthorizedError(ApiError):
    """The API server does not know who asks: the token is missing, expired or of another cluster."""


class ForbiddenError(ApiError):
    """RBAC, an admission policy or a quota says no. Trying again changes nothing until somebody changes that."""


class NotFoundError(ApiError):
    """The object, its namespace or its kind does not exist."""


class ConflictError(ApiError):
    """The object is not, or no longer, what a precondition or resourceVersion said. Read again, decide again."""


class AlreadyExistsError(ApiError):
    """An object of that name exists."""


class GoneError(ApiError):
    """The resourceVersion or continue token is older than the server remembers. List again."""


class InvalidError(ApiError):
    """The object, or a patch of it, breaks its schema or a validation rule."""


class RetryableError(ApiError):
    """Nothing is wrong with the request; the same one may work later."""


class TooManyRequestsError(RetryableError):
    """The server sheds load. The request was not carried out."""


class ServerError(RetryableError):
    """A read failed inside the server."""


class UnreachableError(RetryableError):
    """No connection was made, so nothing was carried out."""


class UnknownOutcomeError(RetryableError):
    """A write got no answer, or a 5xx: it may have been committed. Read uncached before deciding anything on it."""


_BY_REASON: dict[str, type[ApiError]] = {"AlreadyExists": AlreadyExistsError, "Expired": GoneError}
_BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    415: InvalidError,
    422: InvalidError,
    429: TooManyRequestsError,
}


_UNTYPED = "failed to create typed live object"
"""Of a server-side apply to an object whose stored state does not fit its schema: a 500, and nothing was done."""


class _Cause(pydantic.BaseModel):
    field: str = ""


class _Details(pydantic.BaseModel):
    causes: list[_Cause] = []
    retry_after_seconds: float | None = pydantic.Field(None, alias="retryAfterSeconds")


class _Status(pydantic.BaseModel):
    """The part of metav1.Status that is read."""

    code: int = 500
    reason: str = ""
    message: str = ""
    details: _Details = _Details()


def from_response(status: int, body: bytes, *, retry_after: str | None, is_write: bool) -> ApiError:
    """The error for an HTTP answer that is not 2xx.

    body: a metav1.Status, or whatever a proxy in between sent. retry_after: the header, as sent. is_write: whether the
    request could have changed anything, which turns a 5xx into UnknownOutcomeError.
    """
    try:
        answer = _Status.model_validate_json(body)
    except pydantic.ValidationError:
        answer = _Status(message=body[:200].decode(errors="replace").strip())
    seconds = int(retry_after) if retry_after is not None and retry_after.isdecimal() else None
    return _error(status, answer, seconds, is_write=is_write)


def from_status(obj: KubeObject) -> ApiError:
    """The error that a watch event of type ERROR carries."""
    answer = _Status.model_validate(obj)
    return _error(answer.code, answer, None, is_write=False)


def _error(status: int, answer: _Status, retry_after: float | None, *, is_write: bool) -> ApiError:
    default = ApiError if status < 500 else UnknownOutcomeError if is_write else ServerError
    kind = _BY_REASON.get(answer.reason) or _BY_STATUS.get(status, default)
    if answer.message.startswith(_UNTYPED):
        kind = InvalidError
    if any(cause.field == "metadata.uid" for cause in answer.details.causes):
        kind = (
            ConflictError  # built-in kinds call it an invalid change of the uid; it is the successor of what was meant
        )
    seconds = retry_after or answer.details.retry_after_seconds
    return kind(status, answer.reason or "Unknown", answer.message or "the answer has no text", seconds)
