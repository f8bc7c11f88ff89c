"""Benches: the agent in a simulated world, on ptys, or on a rig."""
