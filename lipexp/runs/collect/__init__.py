"""All runs below a folder: read, put together into tables and curves, and shown on one page."""
