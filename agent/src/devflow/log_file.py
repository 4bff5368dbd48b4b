"""A task's log on its way: written as it comes, read in chunks by whoever sends it. On disk, so memory stays small."""

from pathlib import Path
from threading import Lock

from devflow.redaction import redact

MAX_BYTES = 4 * 1024 * 1024
"""What the platform keeps of a task's log (docs/protocol.md, "Log")."""
CHUNK_BYTES = 128 * 1024
"""Well below the 1 MB of a request, even where each byte is escaped."""
_FULL = "… [the log is full]"


class LogFile:
    """One file of UTF-8. Lines are added by one thread, and chunks read by another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w+b")
        self._lock = Lock()
        self.size = 0
        """Bytes so far."""
        self._full = False

    def add_line(self, line: str) -> None:
        """Add a line, without the secrets in it. Beyond what the platform keeps, nothing is added any more."""
        content = redact(line).encode("utf-8", "replace") + b"\n"
        with self._lock:
            if self._file.closed or self._full:
                return
            if self.size + len(content) > MAX_BYTES:
                self._full, content = True, _FULL.encode() + b"\n"
            self._file.seek(0, 2)
            self._file.write(content)
            self._file.flush()
            self.size += len(content)

    def read_chunk(self, offset: int, most: int = CHUNK_BYTES) -> str:
        """What comes after `offset` bytes, up to `most` bytes of it and never half a character; empty at the end."""
        with self._lock:
            if self._file.closed:
                return ""
            self._file.seek(offset)
            return self._file.read(most).decode("utf-8", "ignore")  # half a character at the end comes with the next

    def remove(self) -> None:
        """Close and remove the file; what comes later is dropped."""
        with self._lock:
            self._file.close()
            self.path.unlink(missing_ok=True)
