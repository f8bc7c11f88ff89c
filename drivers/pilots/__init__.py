"""Pilot controllers: control pilot and contactor of one connector."""
