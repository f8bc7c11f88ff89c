"""Foreign eyes: the real agent against CSMSs that nobody here wrote. `python -m hil.interop`."""
