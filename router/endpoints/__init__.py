"""What the API listener answers itself, on aiohttp."""
