"""Fakes of the platform, the network, the Copilot CLI and the clock."""
