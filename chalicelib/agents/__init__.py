"""Agents: processes on the users' own machines, what they can do, and whether they are alive."""
