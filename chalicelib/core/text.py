"""Helpers for text and data. Sizes are counted in bytes of UTF-8, because that is how text is stored."""

import hashlib
import json

MAX_RESPONSE_BYTES = 5 * 1024 * 1024
"""How large the texts of a response may be in total, as `escaped_size` counts them.

Lambda returns at most 6 MB: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html. The rest is for
the other fields and the headers.
"""

_MAX_ESCAPED_BYTES = 7
"""How many bytes of a response a byte of text can become: a control character becomes `\\\\u0001`."""


def escaped_size(text: str) -> int:
    """The size of a text in the response of a Lambda function, in bytes.

    The body of a response is JSON, and it is a string in the JSON that the function returns. So the text is escaped
    twice, the second time with `\\u` for every character that is not ASCII.
    """
    return len(json.dumps(json.dumps(text, ensure_ascii=False)))


def fit_response(text: str, maximum: int = MAX_RESPONSE_BYTES) -> str:
    """The beginning of a text that fits into a response. At least one character."""
    if len(text.encode()) * _MAX_ESCAPED_BYTES <= maximum:
        return text
    while len(text) > 1 and (size := escaped_size(text)) > maximum:
        text = text[: max(1, min(len(text) - 1, len(text) * maximum // size))]
    return text


def sha256_hex(secret: str) -> str:
    """The SHA-256 of a secret, in hex. Tables store this instead of a secret that is too long to guess.

    It accepts every string, including one with an unpaired surrogate.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def fingerprint(content: object) -> str:
    """A short fingerprint of JSON-like data. Equal data has an equal fingerprint."""
    return hashlib.sha256(_canonical(content).encode()).hexdigest()[:32]


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def truncate(text: str, max_bytes: int) -> str:
    """`text` with at most `max_bytes` bytes of UTF-8. A text that was cut ends with a marker and its original size."""
    raw = text.encode()
    if len(raw) <= max_bytes:
        return text
    marker = f"… [cut, {len(raw)} bytes]"
    return raw[: max_bytes - len(marker.encode())].decode(errors="ignore") + marker


def split_chunks(text: str, max_bytes: int) -> list[str]:
    """`text` in chunks of at most `max_bytes` bytes of UTF-8. No chunk ends within a character."""
    raw, chunks, offset = text.encode(), [], 0
    while offset < len(raw):
        chunk = raw[offset : offset + max_bytes].decode(errors="ignore")
        chunks.append(chunk)
        offset += len(chunk.encode())
    return chunks
