"""Pilot, contactor and inputs on the board's own pins; no driver of this family exists yet."""
