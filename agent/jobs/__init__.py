"""Slow work beside the loop; reports back as events."""
