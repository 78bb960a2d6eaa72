"""Training encoders, hypernetworks and generators. `train` is the entry point; a recipe says what is trained.

The loop (`loop.fit`) knows nothing of what it trains; a task (`encoder`, `generator`) answers a batch with losses.
"""
