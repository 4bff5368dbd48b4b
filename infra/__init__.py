"""Where DevFlow runs: what must outlive the code (template.yaml) and the local stage (local/)."""
