"""Tasks: their lifecycle from submission to result, their events and their logs."""
