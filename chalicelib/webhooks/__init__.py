"""Webhooks: users' endpoints, and the delivery of what has happened to them, signed, and again until it arrives."""
