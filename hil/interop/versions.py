"""The foreign packages, in the one place that names their versions."""

ARTHEXIS = ("arthexis==2.0.0", "redis==5.3.1")
"""PyPI. Its channel layer breaks with the Redis client 6 and newer."""
STRICT = ("ocpp-rpc@2.2.1",)
"""npm."""
