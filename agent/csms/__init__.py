"""The link to the CSMS: websocket, TLS, reconnection on order."""
