"""What keeps a deployment from going on, told to whoever asked for it."""


class Problem(Exception):
    """It cannot go on; the message says why and what to do about it, in a line or a few."""
