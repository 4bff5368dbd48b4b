"""The dashboard and the API reference: static pages that call the API from the browser."""
