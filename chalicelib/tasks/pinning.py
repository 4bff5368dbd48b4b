"""Whether the agent to which a task is pinned may claim it: it accepts the intent, and its rules admit the task."""

from chalicelib import dynamodb
from chalicelib.agents.claims import accepts_pinned_task_check, registered_agent
from chalicelib.agents.rules import rejection
from chalicelib.core.errors import AgentNotFound, Invalid
from chalicelib.tasks.entities import Task


class IntentNotAccepted(Invalid):
    """The task is pinned to an agent that does not accept its intent. Choose another agent, or do not pin the task."""

    def __init__(self, agent_id: str, intent: str) -> None:
        super().__init__(
            f"Agent {agent_id} does not accept the intent {intent}. Choose another agent, submit the task without "
            "agentId, or add the intent to the capabilities of the agent."
        )


class TaskNotAdmitted(Invalid):
    """The task is pinned to an agent whose rules do not admit it. Choose another agent, or do not pin the task."""


class PinCheck:
    """The check of the transaction that stores a pinned task.

    The first check expects an agent without rules, which most agents are. If the transaction fails because the agent
    has rules, `read` applies them to the task, and the next check expects exactly these rules. So a submission to an
    agent without rules needs no further request.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._rules_version: str | None = None

    def items(self) -> list[dynamodb.TransactItem]:
        """The check as an item of the transaction. No item for a task that is not pinned."""
        agent_id = self._task.pinned_agent_id
        if agent_id is None:
            return []
        return [
            accepts_pinned_task_check(self._task.owner, agent_id, self._task.intent or "", self._rules_version),
        ]

    def read(self, row: dynamodb.Row | None) -> None:
        """Adapt to the stored row of the agent, after the check has failed.

        Raises AgentNotFound, IntentNotAccepted or TaskNotAdmitted if the agent may not claim the task.
        """
        task, agent = self._task, registered_agent(row)
        if agent is None:
            raise AgentNotFound(
                f"The task cannot be pinned to agent {task.pinned_agent_id}: you have no agent with this id."
            )
        if task.intent not in agent.capabilities:
            raise IntentNotAccepted(agent.id, task.intent or "")
        match rejection(agent, task.repo or "", task.submitter):
            case "repo_not_admitted":
                raise TaskNotAdmitted(
                    f"The rules of agent {agent.id} do not admit this repository. Choose another agent, submit the "
                    "task without agentId, or add the repository to the repos of the agent."
                )
            case "submitter_not_admitted":
                raise TaskNotAdmitted(
                    f"The rules of agent {agent.id} do not admit tasks of user {task.submitter}. Choose another agent, "
                    "submit the task without agentId, or add the user to the submitters of the agent."
                )
        self._rules_version = agent.rules_version if agent.has_rules else None
