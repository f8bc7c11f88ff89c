"""Charging profiles: what they are, which are held, and what may be installed (blocks K and F)."""
