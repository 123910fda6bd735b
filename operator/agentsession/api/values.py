"""The kinds of values that specs are made of: names, ids, amounts, durations, text. Each says what would be right."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from .rules import Form, IntOrString

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_ABOVE_ZERO = r"([0-9]{0,15}[1-9][0-9]{0,15}(\.[0-9]{1,9})?|[0-9]{1,15}\.[0-9]{0,8}[1-9][0-9]{0,8})"
_HOURS, _MINUTES, _SECONDS = "[0-9]{1,6}h", "[0-9]{1,7}m", "[0-9]{1,7}s"
DURATION = Form(
    f"^({_HOURS}({_MINUTES})?({_SECONDS})?|{_MINUTES}({_SECONDS})?|{_SECONDS})$",
    "use a duration such as 90s, 30m or 1h30m",
)

ShortName = Annotated[
    str, Field(max_length=63), Form(rf"^{_LABEL}$", "use lower-case letters, digits and '-', such as step-1")
]
ObjectName = Annotated[
    str,
    Field(max_length=253),
    Form(rf"^{_LABEL}(\.{_LABEL})*$", "use a Kubernetes name: lower-case letters, digits, '-' and '.'"),
]
DataKey = Annotated[
    str, Field(max_length=253), Form("^[-._a-zA-Z0-9]+$", "use letters, digits, '-', '_' and '.', such as api-key")
]
"""A key in the data of a Secret or ConfigMap."""
ModelId = Annotated[
    str, Field(max_length=128), Form("^[A-Za-z0-9][A-Za-z0-9._:@/-]*$", "use a model id such as claude-sonnet-4-5")
]
BaseUrl = Annotated[
    str,
    Field(max_length=512),
    Form("^https?://[a-z0-9.-]+(:[0-9]{1,5})?$", "use scheme and host alone, such as https://api.anthropic.com"),
]
Duration = Annotated[str, Field(max_length=16), DURATION]
Cpu = Annotated[str, IntOrString(Form(rf"^{_ABOVE_ZERO}m?$", "use an amount of CPU above zero, such as 500m or 2"))]
Bytes = Annotated[
    str,
    IntOrString(Form(rf"^{_ABOVE_ZERO}(k|M|G|T|Ki|Mi|Gi|Ti)?$", "use an amount above zero, such as 512Mi or 10Gi")),
]
"""Of memory or disk. A suffix m is refused: it would be thousandths of a byte, and is a slip for M or Mi."""
_SCALES = {"": Decimal(1), "m": Decimal("0.001"), "k": Decimal(1000)} | {
    f"{letter}{i}": Decimal(1024 if i else 1000) ** power
    for power, letter in enumerate("KMGT", start=1)
    for i in ("", "i")
}
WRITTEN = Form(r"[^\t\n\f\r ]", "write something: white space alone asks nothing")


def parse_duration(text: str) -> timedelta:
    """ "1h30m" and the like, as DURATION admits them."""
    seconds = 0
    number = ""
    for char in text:
        if char.isdigit():
            number += char
        else:
            seconds += int(number) * {"h": 3600, "m": 60, "s": 1}[char]
            number = ""
    return timedelta(seconds=seconds)


def amount(text: str) -> Decimal:
    """ "500m", "1.5" or "2Gi" as a number, as Cpu and Bytes admit them."""
    digits = text.rstrip("mkKMGTi")
    return Decimal(digits) * _SCALES[text[len(digits) :]]
