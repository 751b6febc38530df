"""Programs on the frameworks that agents are built on, each with a scripted model."""
