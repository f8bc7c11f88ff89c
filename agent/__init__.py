"""The charger agent: core, OCPP, store, links, and the process around them."""
