"""List prices, from the data that genai-prices ships; nothing is fetched. Estimates, not invoices."""

from decimal import Decimal

from genai_prices import Usage, calc_price

from .usage import Tokens

UNKNOWN_INPUT = Decimal(5) / 1_000_000
UNKNOWN_OUTPUT = Decimal(25) / 1_000_000
"""US dollars a token where no list price is known: a model must not be free because it is new."""


def cost(model: str, tokens: Tokens) -> Decimal:
    """US dollars for one answer by `model`; the price may depend on the length of the input."""
    total_input = tokens.input + tokens.cache_creation + tokens.cache_read
    usage = Usage(
        input_tokens=total_input,
        cache_write_tokens=tokens.cache_creation,
        cache_write_1h_tokens=min(tokens.cache_creation_1h, tokens.cache_creation),
        cache_read_tokens=tokens.cache_read,
        output_tokens=tokens.output,
    )
    try:
        listed = Decimal(calc_price(usage, model_ref=model, provider_id="anthropic").total_price)
    except LookupError:
        listed = Decimal(0)
    return listed or total_input * UNKNOWN_INPUT + tokens.output * UNKNOWN_OUTPUT
