"""Helpers for text and data. Sizes are counted in bytes of UTF-8, because that is how text is stored."""

import hashlib
import json


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
