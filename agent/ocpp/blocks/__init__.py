"""One file per functional block of OCPP 2.0.1, A to P."""
