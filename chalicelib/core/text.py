"""Texts and data, measured as they are stored: in UTF-8 bytes."""

import hashlib
import json


def sha256_hex(secret: str) -> str:
    """The SHA-256 of a text, in hex: what a table keeps of a secret that is too long to guess.

    Every text has one, also one with half of a surrogate pair.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def fingerprint(content: object) -> str:
    """A short fingerprint of plain data: equal data, equal fingerprint."""
    return hashlib.sha256(_canonical(content).encode()).hexdigest()[:32]


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def truncate(text: str, max_bytes: int) -> str:
    """`text` with at most `most` UTF-8 bytes, and a marker where something is missing."""
    raw = text.encode()
    if len(raw) <= max_bytes:
        return text
    marker = f"… [cut, {len(raw)} bytes]"
    return raw[: max_bytes - len(marker.encode())].decode(errors="ignore") + marker


def split_chunks(text: str, max_bytes: int) -> list[str]:
    """`text` in pieces of at most `most` UTF-8 bytes, none of which splits a character."""
    raw, pieces, at = text.encode(), [], 0
    while at < len(raw):
        piece = raw[at : at + max_bytes].decode(errors="ignore")
        pieces.append(piece)
        at += len(piece.encode())
    return pieces
