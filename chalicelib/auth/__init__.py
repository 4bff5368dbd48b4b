"""Who calls: users, their tokens, and logging in."""
