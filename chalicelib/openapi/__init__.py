"""The app's own description: GET /api/openapi.json."""
