"""The one error that the command line shows without a traceback."""


class DevclusterError(Exception):
    """Says what is wrong, with what, and what to do about it."""
