"""Pilot controllers with their contactors."""
