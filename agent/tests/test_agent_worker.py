"""The agent's loop with a clock that jumps: outages, silence, renewal, and how it ends."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.support.fake_clock import FakeClock
from agent.tests.support.fake_platform import FakeResponse, make_error
from devflow.agent_state import AgentState, Registration
from devflow.agent_worker import AgentWorker, WorkerConfig
from devflow.credentials import Credentials
from devflow.engines import command
from devflow.errors import AlreadyRunningError, NotLoggedInError, RequestRejectedError
from devflow.intervals import Intervals
from devflow.job_runner import JobContext
from devflow.outbox import Outbox, TaskResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest

HOUR, DAY = 3600.0, 24 * 3600.0
BEAT, POLL = "/api/agents/build-1/heartbeat", "/api/agents/build-1/commands?limit=1"


def fine(request: ReceivedRequest) -> FakeResponse:
    if request.path.endswith("/heartbeat"):
        return FakeResponse(200, {"success": True, "nextPollInterval": 5000, "status": "active", "cancel": []})
    if "/commands" in request.path:
        return FakeResponse(200, {"commands": [], "nextPollInterval": 30_000})
    return FakeResponse(200, {"success": True})


class Scene:
    """One agent on a machine of its own, with a clock that jumps from one thing that is due to the next."""

    def __init__(self, tmp_path: Path, platform: FakePlatform, **pace: float) -> None:
        self.platform, self.said = platform, []
        self.clock = FakeClock(self._waited)
        self.home = AgentState(tmp_path / "state", "build-1")
        self.home.save_registration(Registration(platform.url, "build-1", "token-1", self.clock.wall()))
        self.at: list[tuple[float, Callable[[], object]]] = []
        self.pace = Intervals(**pace)
        self.loop = AgentWorker(
            self.home, Credentials(self.home, self.clock), WorkerConfig(intervals=self.pace), self._equip, self.said.append,
            clock=self.clock, jitter=lambda: 0.0,
        )  # fmt: skip
        self.began = self.clock.time

    said: list[str]

    def _equip(self, loop: AgentWorker) -> JobContext:
        return JobContext(
            self.home.directory, command.make_command_engine("true"), loop.client, Outbox(self.home.directory / "outbox"),
            loop.send_result, loop.log, loop.handle_unauthorized, self.pace, allowed_protocols=["file"],
        )  # fmt: skip

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        """Do something when so much of the agent's time has passed."""
        self.at.append((self.clock.time + seconds, do))

    def _waited(self, now: float) -> None:
        due = [item for item in self.at if item[0] <= now]
        for item in due:
            self.at.remove(item)
            item[1]()

    def asked(self) -> list[str]:
        return [request.path for request in self.platform.requests]


@pytest.fixture
def scene(tmp_path: Path, standin: Callable[..., FakePlatform]) -> Callable[..., Scene]:
    def make(answer: Callable[[ReceivedRequest], FakeResponse] = fine, **pace: float) -> Scene:
        return Scene(tmp_path, standin(answer), **pace)

    return make


def test_it_beats_polls_at_the_servers_interval_and_says_goodbye(scene: Callable[..., Scene]) -> None:
    one = scene()
    one.after(300, one.loop.drain)
    one.loop.run()

    assert one.asked().count(BEAT) == 3 + 1, "three after the start, and the goodbye"
    assert one.asked().count(POLL) == 10
    first, *_, last = one.platform.bodies("/heartbeat")
    assert (first["status"], first["taskIds"], first["version"]) == ("ready", [], "0.1.0")
    assert (last["status"], "version" in last) == ("disconnected", False)
    assert {body["instanceId"] for body in one.platform.bodies("/heartbeat")} == {one.home.load_instance_id()}


def test_after_an_hour_out_of_reach_it_goes_on_by_itself(scene: Callable[..., Scene]) -> None:
    away = False
    one = scene(lambda request: FakeResponse(503, {}) if away else fine(request))

    def cut(value: bool) -> None:  # noqa: FBT001
        nonlocal away
        away = value

    one.after(100, lambda: cut(True))  # noqa: FBT003
    one.after(100 + HOUR, lambda: cut(False))  # noqa: FBT003
    one.after(100 + HOUR + 300, one.loop.drain)
    one.loop.run()

    (lost,) = (line for line in one.said if "cannot answer now" in line)
    (back,) = (line for line in one.said if "the platform is back" in line)
    assert one.said.index(lost) < one.said.index(back)
    assert 60 < one.asked().count(POLL) + one.asked().count(BEAT) < 130, "about once a minute while it was away"


def test_a_result_of_an_earlier_run_is_reported_and_counts_as_held_until_then(scene: Callable[..., Scene]) -> None:
    told = threading.Event()

    def answer(request: ReceivedRequest) -> FakeResponse:
        if request.path.endswith("/complete"):
            assert told.wait(30)
        return fine(request)

    one = scene(answer)
    result = TaskResult("task-1", 1, "task-1-attempt-1", "complete", {"success": True, "attempt": 1})
    Outbox(one.home.directory / "outbox").save(result)
    again = Scene(one.home.directory.parent.parent.parent, one.platform)

    def taken() -> None:
        told.set()
        while again.loop.result_sender.pending_attempts():
            time.sleep(0.001)  # on the courier's thread, which has a clock of its own
        again.loop.drain()

    again.after(65, taken)
    again.loop.run()

    assert one.platform.bodies("/complete") == [result.body]
    assert one.platform.bodies("/heartbeat")[0]["taskIds"] == ["task-1"]
    assert one.platform.bodies("/heartbeat")[-1]["taskIds"] == []
    assert "1 result(s) of an earlier run wait to be reported" in again.said


def test_draining_it_waits_for_the_platform_to_take_results_but_not_for_ever(scene: Callable[..., Scene]) -> None:
    one = scene(lambda request: FakeResponse(503, {}) if request.path.endswith("/complete") else fine(request))
    result = TaskResult("task-1", 1, "task-1-attempt-1", "complete", {"success": True, "attempt": 1})
    outbox = Outbox(one.home.directory / "outbox")
    outbox.save(result)
    one.loop.send_result(result)
    one.after(10, one.loop.drain)
    one.loop.run()

    assert one.clock.time - one.began == pytest.approx(10 + one.pace.shutdown, abs=40)
    assert outbox.load_all() == [result]
    assert any("are kept in" in line for line in one.said)


@pytest.mark.parametrize("first", ["heartbeat", "commands"])
def test_a_token_that_is_not_accepted_ends_it(scene: Callable[..., Scene], first: str) -> None:
    one = scene(lambda request: make_error(401) if first in request.path else fine(request))

    with pytest.raises(NotLoggedInError, match="--replace"):
        one.loop.run()
    assert one.asked()[-1].split("?")[0].endswith(first), "there is nobody to say goodbye to"


def test_a_token_that_was_changed_by_hand_is_taken_up(scene: Callable[..., Scene]) -> None:
    valid = "token-1"
    one = scene(lambda request: fine(request) if request.token == valid else make_error(401))

    def rotate() -> None:
        nonlocal valid
        valid = "token-2"
        one.home.save_registration(Registration(one.platform.url, "build-1", valid, one.clock.wall()))

    one.after(40, rotate)
    one.after(200, one.loop.drain)
    one.loop.run()

    assert "the token was renewed" in one.said
    assert one.platform.requests[-1].token == "token-2"


def test_it_renews_its_token_long_before_it_ends(scene: Callable[..., Scene]) -> None:
    def answer(request: ReceivedRequest) -> FakeResponse:
        if request.path.endswith("/token"):
            return FakeResponse(201, {"success": True, "agent": {}, "token": "token-2"})
        return fine(request)

    one = scene(answer)
    one.after(200, lambda: setattr(one.clock, "epoch", one.clock.epoch + 20 * DAY))
    one.after(400, one.loop.drain)
    one.loop.run()

    assert one.asked().count("/api/agents/build-1/token") == 1
    assert one.home.load_registration().token == "token-2"
    assert {request.token for request in one.platform.requests[-3:]} == {"token-2"}


def test_a_renewal_that_does_not_work_is_tried_again_later_and_keeps_nothing_up(scene: Callable[..., Scene]) -> None:
    one = scene(lambda request: FakeResponse(503, {}) if request.path.endswith("/token") else fine(request))
    one.clock.epoch += 20 * DAY
    one.after(2 * HOUR + 100, one.loop.drain)
    one.loop.run()

    assert one.asked().count("/api/agents/build-1/token") == 3
    assert one.asked().count(POLL) > 200
    assert one.home.load_registration().token == "token-1"


def test_a_second_process_elsewhere_is_told_and_ends(scene: Callable[..., Scene]) -> None:
    one = scene(lambda _: make_error(409, message="Another process lives."))

    with pytest.raises(AlreadyRunningError, match="elsewhere: Another process lives"):
        one.loop.run()
    assert one.asked() == [BEAT]


@pytest.mark.parametrize("status", [400, 403, 404])
def test_what_cannot_be_meant_or_is_not_there_ends_it(scene: Callable[..., Scene], status: int) -> None:
    one = scene(lambda request: make_error(status) if "/commands" in request.path else fine(request))
    with pytest.raises(RequestRejectedError):
        one.loop.run()


def test_a_command_that_cannot_be_read_is_left_out(scene: Callable[..., Scene]) -> None:
    commands: list[Any] = [{"task_id": "task-1"}, {}]
    one = scene(
        lambda request: (
            FakeResponse(200, {"commands": commands, "nextPollInterval": 30_000})
            if "/commands" in request.path
            else fine(request)
        )
    )
    one.after(40, one.loop.drain)
    one.loop.run()

    assert any("left out" in line for line in one.said)
