"""The error that ends a deployment with a message for the operator."""


class DeployError(Exception):
    """The command cannot continue. The message, of one or a few lines, says why and what to do next."""
