"""Who may come in: bans and keys; of limits only the settings are here yet."""
