"""The dashboard and the readable API documentation: static pages that call the API from the browser."""
