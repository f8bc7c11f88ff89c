"""PURE: what OCPP 2.0.1 makes of it."""
