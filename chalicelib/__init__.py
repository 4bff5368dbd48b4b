"""DevFlow: the control plane for self-hosted coding agents."""
