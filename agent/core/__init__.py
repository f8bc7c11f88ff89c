"""PURE: what a charger does even with no CSMS in the world."""
