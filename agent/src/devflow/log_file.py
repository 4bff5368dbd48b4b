"""The log of a running task, on disk so that memory use stays small.

The job adds lines, and the reporter reads them in chunks and sends them to the platform.
"""

from pathlib import Path
from threading import Lock

from devflow.redaction import redact

MAX_BYTES = 4 * 1024 * 1024
"""The platform keeps this much of a task's log (docs/protocol.md, "Log")."""
CHUNK_BYTES = 128 * 1024
"""Well below the 1 MB that a request may have, even if each byte is escaped."""
_FULL = "… [the log is full]"


class LogFile:
    """One UTF-8 file. One thread adds lines, and another one reads chunks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w+b")
        self._lock = Lock()
        self.size = 0
        """The bytes written so far."""
        self._full = False

    def add_line(self, line: str) -> None:
        """Add a line, with its secrets redacted. Once `MAX_BYTES` are reached, further lines are dropped."""
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

    def read_chunk(self, offset: int, max_bytes: int = CHUNK_BYTES) -> str:
        """Return up to `max_bytes` of the log from byte `offset` on. A chunk never ends within a character.

        Returns an empty text at the end of the log.
        """
        with self._lock:
            if self._file.closed:
                return ""
            self._file.seek(offset)
            # `ignore` drops an incomplete character at the end. The next chunk begins with it.
            return self._file.read(max_bytes).decode("utf-8", "ignore")

    def remove(self) -> None:
        """Close and delete the file. Later lines are dropped."""
        with self._lock:
            self._file.close()
            self.path.unlink(missing_ok=True)
