"""Simulated hardware: one physics, and drivers that live in it."""
