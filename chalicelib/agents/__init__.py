"""Agents: programs on users' machines that do tasks. Their registration, capabilities, claims and liveness."""
