"""Strategies: (rollout, verdict, now) -> next step, one per file."""
