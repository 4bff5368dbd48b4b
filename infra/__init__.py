"""Where DevFlow runs: a stage's resources (template.yaml), its deployment (deploy/), and the local stage (local/)."""
