"""Webhooks: the endpoints of users, and the signed deliveries of events to them, with retries."""
