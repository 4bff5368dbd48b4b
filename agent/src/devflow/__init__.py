"""DevFlow's command line, agent and agent host. They use the platform's HTTP API and import none of its code."""

__version__ = "0.1.0"
