"""The asynchronous life of tasks: what drives them from submission to an agent and on, whatever fails on the way."""
