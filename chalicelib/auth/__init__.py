"""Users, their tokens and logins: which caller a request comes from."""
