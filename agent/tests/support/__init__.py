"""The far sides of the agent's wires, and a clock that tests move."""
