"""Digital inputs and outputs."""
