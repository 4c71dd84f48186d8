"""The page in a browser: models as a folder that any static host serves, and a local server."""
