"""Device drivers. Each family imports the contract, the bus and itself."""
