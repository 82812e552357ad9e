"""The decentralised energy market of typed prosumers, and what it needs: data, forecasts, welfare, settlement."""
