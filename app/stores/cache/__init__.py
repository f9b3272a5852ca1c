"""The routes of one worker in memory, and what it knows while the store is away."""
