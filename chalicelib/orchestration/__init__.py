"""Asynchronous processing that combines features: the workflow queue, the event publisher, the sweep, and agents'
lives."""
