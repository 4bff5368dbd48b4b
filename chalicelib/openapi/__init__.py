"""GET /api/openapi.json: the OpenAPI document of the API."""
