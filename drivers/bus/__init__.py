"""Ports that drivers talk through: plain serial ports and shared RS-485 lines."""
