"""Who may come in: clients, limits, bans and keys."""
