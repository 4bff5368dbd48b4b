"""The calls that are measured. Each function prepares a world, and returns the one call to measure in it.

This module has the calls of agents, the calls about tasks, and the sweep. budget_user_calls.py and
budget_login_calls.py have the other routes, and budget_queue_calls.py has the messages of the queues. test_budget.py
and test_budget_routes.py state the requests of each call. test_figures.py asserts that every route and
handler is measured.

The names of calls are the keys of bench/figures.json, and the bill in bench/cost uses them.
"""

from chalicelib.agents.rules import INACTIVE_AFTER
from chalicelib.core.settings import KB, SECOND
from tests.http import budget_login_calls, budget_queue_calls, budget_user_calls
from tests.http.budget_world import CALLS, WORK, Agent, Call, World, call, make_world

__all__ = [
    "CALLS",
    "WORK",
    "Agent",
    "Call",
    "World",
    "budget_login_calls",
    "budget_queue_calls",
    "budget_user_calls",
    "make_world",
]


@call("heartbeat")
def _heartbeat(world: World) -> Call:
    agent = world.agent()
    agent.heartbeat()
    return agent.heartbeat


@call("heartbeat, first of a minute")
def _first_heartbeat_of_a_minute(world: World) -> Call:
    agent = world.agent()
    agent.heartbeat()
    world.next_minute()
    return agent.heartbeat


@call("heartbeat, changes everything")
def _heartbeat_that_changes_everything(world: World) -> Call:
    agent = world.agent()
    return lambda: agent.heartbeat(status="busy", version="0.3.0", capabilities=["fix-bug", "feature"], concurrency=3)


@call("heartbeat, runs a task and says so")
def _heartbeat_of_a_busy_agent(world: World) -> Call:
    agent = world.agent()
    task_id = world.start_task(agent)
    return lambda: agent.heartbeat(status="busy", taskIds=[task_id])


@call("idle poll, empty queue")
def _idle_poll(world: World) -> Call:
    return world.agent().poll


@call("idle poll, first of a minute")
def _first_idle_poll_of_a_minute(world: World) -> Call:
    agent = world.agent()
    agent.poll()
    world.next_minute()
    return agent.poll


@call("idle poll, others' queue")
def _idle_poll_with_other_intents(world: World) -> Call:
    world.queue_tasks(5, intent="feature")
    return world.agent("fix-bug", "review-pr").poll


@call("idle poll, runs a task")
def _idle_poll_of_a_busy_agent(world: World) -> Call:
    agent = world.agent()
    world.start_task(agent)
    return agent.poll


@call("idle poll, long queue, 1 capability")
def _idle_poll_of_a_long_queue(world: World) -> Call:
    agent = world.agent("fix-bug")
    world.long_queue("feature")
    agent.poll()
    return agent.poll


@call("idle poll, long queue, 3 capabilities")
def _idle_poll_of_a_long_queue_with_three_capabilities(world: World) -> Call:
    agent = world.agent("explain", "fix-bug", "review-pr")
    world.long_queue("feature")
    agent.poll()
    return agent.poll


@call("poll that claims 1")
def _claiming_poll(world: World) -> Call:
    world.queue_tasks()
    return world.agent().poll


@call("poll that claims 4")
def _claiming_poll_of_four(world: World) -> Call:
    world.queue_tasks(6)
    return world.agent(concurrency=4).poll


@call("poll that claims 1 pinned to it")
def _claiming_poll_of_a_pinned_task(world: World) -> Call:
    agent = world.agent()
    world.queue_tasks(agentId=agent.name)
    return agent.poll


@call("poll that finds 1 claim")
def _poll_with_a_claim(world: World) -> Call:
    agent = world.agent()
    world.claim_task(agent)
    return agent.poll


@call("progress, the first")
def _first_progress(world: World) -> Call:
    agent = world.agent()
    task_id = world.claim_task(agent)
    return lambda: agent.progress(task_id)


@call("progress, the same step")
def _progress(world: World) -> Call:
    agent = world.agent()
    task_id = world.start_task(agent)
    return lambda: agent.progress(task_id, progress=0.7)


@call("progress, a new step")
def _progress_with_a_new_step(world: World) -> Call:
    agent = world.agent()
    task_id = world.start_task(agent)
    return lambda: agent.progress(task_id, "Opening the pull request")


@call("complete")
def _complete(world: World) -> Call:
    agent = world.agent()
    task_id = world.start_task(agent)
    return lambda: agent.complete(task_id)


@call("complete, never started")
def _complete_without_start(world: World) -> Call:
    agent = world.agent()
    task_id = world.claim_task(agent)
    return lambda: agent.complete(task_id)


@call("fail")
def _fail(world: World) -> Call:
    agent = world.agent()
    task_id = world.start_task(agent)
    return lambda: agent.fail(task_id)


@call("fail with 300 KB of logs")
def _fail_with_logs(world: World) -> Call:
    agent = world.agent()
    task_id = world.start_task(agent)
    return lambda: agent.fail(task_id, logs="x" * 300 * KB)


@call("submit")
def _submit(world: World) -> Call:
    return world.submit


@call("submit, by an agent")
def _submit_by_an_agent(world: World) -> Call:
    agent = world.agent()
    return lambda: world.submit(by=agent.client)


@call("page of tasks")
def _page_of_tasks(world: World) -> Call:
    world.some_tasks()
    return lambda: world.user.get("/api/tasks", {"limit": 5})


@call("page of tasks, by cursor")
def _page_of_tasks_by_cursor(world: World) -> Call:
    world.some_tasks()
    cursor = world.user.get("/api/tasks", {"limit": 4}).json()["nextCursor"]
    return lambda: world.user.get("/api/tasks", {"limit": 4, "cursor": cursor})


@call("page of agents")
def _page_of_agents(world: World) -> Call:
    for number in range(6):
        world.agent(name=f"agent-{number}")
    return lambda: world.user.get("/api/agents", {"limit": 5})


@call("page of events")
def _page_of_events(world: World) -> Call:
    task_id = world.start_task(world.agent())
    return lambda: world.user.get(f"/api/tasks/{task_id}/events")


@call("sweep, idle")
def _idle_sweep(world: World) -> Call:
    world.start_task(world.agent())
    world.queue_tasks()
    world.poller.sweep()
    return world.poller.sweep


@call("sweep, 4 agents silent")
def _sweep_of_agents(world: World) -> Call:
    for number in range(4):
        world.agent(name=f"agent-{number}")
    world.poller.sweep()
    world.next_minute()
    world.clock.advance(90)
    world.poller.sweep()
    world.clock.advance(INACTIVE_AFTER / SECOND - 90)
    return world.poller.sweep


@call("sweep, 4 claims ran out")
def _sweep_of_claims(world: World) -> Call:
    agents = [world.agent(name=f"agent-{number}") for number in range(4)]
    for agent in agents:
        world.claim_task(agent)
    world.poller.sweep()
    world.clock.advance(61)
    for agent in agents:
        agent.heartbeat()
    return world.poller.sweep


@call("sweep, 4 messages lost")
def _sweep_of_lost_messages(world: World) -> Call:
    for _ in range(4):
        world.submit()
    world.poller.sweep()
    world.clock.advance(61)
    return world.poller.sweep
