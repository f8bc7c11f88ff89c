"""SQLite: rows and JSON, without meaning."""
