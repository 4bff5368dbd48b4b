"""What a container remembers of failed requests to AWS, so that it does not make an overload worse.

- A `RetryBudget` limits retries. If most requests fail, retries rarely succeed and only add load.
- A `Circuit` opens after repeated failures of one kind of request. While it is open, such requests fail at once and
  from memory. One request at a time then probes whether AWS responds again.

A Lambda container handles one request at a time. So in an overload, each request that waits for a timeout occupies a
container, and the next request starts another one. Failing at once keeps the number of containers small.

These classes do no I/O. Times are seconds of the monotonic clock; `chance` is a random number from 0 to 1.
"""

import math
from dataclasses import dataclass, field

MAX_TOKENS = 25.0
"""The retry budget of a container."""

TOKENS_PER_SECOND = 0.5
"""How fast the budget grows without any success. A container that is rarely used can always retry."""

STRIKES_TO_OPEN = 10
"""The strikes in a row that open a circuit. A success clears them."""

TIMEOUT_STRIKES = 5
"""The strikes of a request that timed out. Two in a row open the circuit. One alone may concern an item that is
unavailable."""

ERROR_STRIKES = 2
"""The strikes of a request that AWS throttled or to which it responded with 5xx. A hot partition throttles only the
requests of one user, so five in a row open the circuit."""

FIRST_PAUSE, MAX_PAUSE = 1.0, 8.0
"""How long a circuit stays open before it is probed, in seconds, and the limit after repeated failures of the probe."""

PROBE_SECONDS = 5.0
"""How long other requests wait for the result of a probe before one of them becomes the next probe."""


@dataclass
class RetryBudget:
    """A bucket of tokens. A retry takes some of them, and every success returns one.

    So retries add at most a fifth to the load, if they cost five tokens.
    """

    tokens: float = MAX_TOKENS
    _counted_at: float = -math.inf

    def take(self, cost: float, now: float) -> bool:
        """Take the tokens for one retry. Returns False, and takes none, if there are not enough."""
        grown = self.tokens + (now - self._counted_at) * TOKENS_PER_SECOND
        self.tokens, self._counted_at = min(MAX_TOKENS, grown), now
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def record_success(self) -> None:
        self.tokens = min(MAX_TOKENS, self.tokens + 1)


@dataclass
class Circuit:
    """Decides whether requests of one kind are sent, or fail at once."""

    strikes: int = 0
    """Failures since the last success, with their weights."""

    openings: int = 0
    """How many times the circuit has opened in a row. 0: it is closed, and all requests are sent."""

    probe_at: float = 0.0
    """When the next request may probe, if the circuit is open."""

    def pause(self) -> float:
        """The length of the current pause, before jitter."""
        return min(MAX_PAUSE, FIRST_PAUSE * 2.0 ** (self.openings - 1))

    def admit(self, now: float) -> bool:
        """Whether a request may be sent now. If the circuit is open, that request is the probe."""
        if self.openings:
            if now < self.probe_at:
                return False
            self.probe_at = now + PROBE_SECONDS
        return True

    def record_success(self) -> None:
        self.strikes = self.openings = 0

    def open(self, now: float, chance: float) -> None:
        """Open the circuit, or keep it open after a probe has failed.

        The pause has jitter of half its length, so that the containers do not probe in step.
        """
        self.openings += 1
        self.probe_at = now + self.pause() * (0.5 + chance)

    def retry_after(self, now: float, chance: float) -> int:
        """The whole seconds after which a caller should retry: after the next probe, spread over another pause."""
        return math.ceil(max(0.0, self.probe_at - now) + self.pause() * chance) + 1


@dataclass
class FailureMemory:
    """The retry budget and the circuits of one container."""

    budget: RetryBudget = field(default_factory=RetryBudget)
    circuits: dict[str, Circuit] = field(default_factory=dict)
    """By the kind of request, for example `write devflow-prod-agents`."""
    timeouts: int = 0
    """Requests of any kind that timed out since the last success of any kind."""

    def circuit(self, kind: str) -> Circuit:
        return self.circuits.setdefault(kind, Circuit())

    @property
    def is_clear(self) -> bool:
        """Whether a success changes nothing, apart from the circuit of its kind."""
        return not self.timeouts and self.budget.tokens >= MAX_TOKENS

    def record_success(self, circuit: Circuit) -> None:
        circuit.record_success()
        self.budget.record_success()
        self.timeouts = 0

    def record_failure(self, circuit: Circuit, strikes: int, now: float, chance: float) -> bool:
        """Count a request that failed. Returns whether its circuit is open now.

        Two timeouts in a row open all circuits with strikes. After a failed probe, the other circuits are not probed at
        once: they probably fail too, and each probe occupies the container for the time of a timeout.
        """
        circuit.strikes += strikes
        self.timeouts += strikes >= TIMEOUT_STRIKES
        if circuit.openings:
            circuit.open(now, chance)
            for other in self.circuits.values():
                other.probe_at = max(other.probe_at, now + circuit.pause() / 2)
        elif circuit.strikes >= STRIKES_TO_OPEN:
            circuit.open(now, chance)
        elif self.timeouts > 1:
            for other in self.circuits.values():
                if other.strikes >= TIMEOUT_STRIKES and not other.openings:
                    other.open(now, chance)
        return circuit.openings > 0
