"""Tasks: pieces of work, their life from submission to result, and what has happened to them."""
