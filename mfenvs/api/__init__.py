"""The APIs: thin views of the engine."""
