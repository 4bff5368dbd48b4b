"""DevFlow's command line, agent and agent host. They know the platform by HTTP alone."""

__version__ = "0.1.0"
